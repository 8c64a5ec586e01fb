"""The page "Recommender releases" inside Airflow's own UI, as an operator uses it.

Also the forms of the provider's connection types, because they need a running Airflow, too.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Response, expect
from psycopg.conninfo import conninfo_to_dict

from recsys import ledger, monitoring
from recsys.cli.output import embedded_services
from recsys.embedded import airflow, stack
from recsys.embedded.airflow import AirflowAddresses
from recsys.embedded.airflow_client import AirflowClient
from recsys.embedded.home import Home
from recsys.errors import PermanentError
from recsys.pipeline import Run
from recsys.releases import compare_releases, promote_release, roll_back
from recsys.services import Services
from tests.actors import an_actor
from tests.release_maker import Releases, make_retired
from tests.wheels import build_wheel

PAGE = "/recommender-releases/"
DAG = "movie_rec_sys"
OLDER = 100
WAITING_DAG = Path(__file__).with_name("waiting_dag.py")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class Stack:
    """A running Airflow, and the ledger that its page shows.

    Attributes:
        web: address and login.
        services: the data services.
        home: the folder of the stack.
        rolled_back: a release that was rolled back, and that the runs of the DAG judge again.
    """

    web: AirflowAddresses
    services: Services
    home: Home
    rolled_back: str

    def log_in(self, page: Page) -> None:
        # Airflow's pages are slow on a loaded machine.
        page.set_default_timeout(180_000)
        page.goto(f"{self.web.url}/auth/login")
        page.get_by_label("Username").fill(self.web.username)
        page.get_by_label("Password").fill(self.web.password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("button", name="Browse")).to_be_visible()

    @property
    def champion(self) -> str:
        return str(monitoring.read_status(self.services)["champion"]["release_id"])


@pytest.fixture(scope="module")
def running(browser: object, repository: Path) -> Iterator[Stack]:
    """Airflow as `recsys up` starts it, with a hundred releases, a short DAG and the provider."""
    with (
        tempfile.TemporaryDirectory(prefix="recsys-stack-") as folder,
        pytest.MonkeyPatch.context() as patched,
    ):
        for name in [n for n in os.environ if n.startswith("AIRFLOW")]:
            patched.delenv(name)
        home = Home(Path(folder))
        dags = home.folder("short-dags")
        with zipfile.ZipFile(build_wheel(repository, "provider", home.folder("wheel"))) as wheel:
            wheel.extractall(home.folder("provider"))
        try:
            stack.start_data_services(home)
            services = embedded_services(home)
            rolled_back, about = make_releases(services)
            shutil.copy(WAITING_DAG, dags)
            (dags / WAITING_DAG.with_suffix(".json").name).write_text(about.model_dump_json())
            with_provider = {
                "PYTHONPATH": str(home.folder("provider")),
                "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            }
            web = airflow.start(home, dags, with_provider)
            yield Stack(web, services, home, rolled_back)
        finally:
            stack.stop(home)


def make_releases(services: Services) -> tuple[str, Run]:
    """Makes the releases, of which one was rolled back and is judged again.

    Returns:
        That release, and a run about it.
    """
    releases = Releases(services)
    champions = [releases.candidate(number) for number in (1, 2, 3)]
    first, second, third = champions
    with services.connect() as conn:
        make_retired(conn, OLDER, like=first)
    for release_id in champions:
        releases.judge(release_id)
        promote_release(services, release_id, actor=an_actor("airflow", "a better one"))
    roll_back(services, second, actor=an_actor("mary", "complaints about <b>westerns</b>"))
    with services.connect() as conn:
        decided = ledger.last_decision(conn, third)
        assert decided is not None
        diff = compare_releases(conn, second, third).model_dump(mode="json")
        ledger.record_decision(conn, third, second, "manual__again", decided[0], diff)
    return third, Run(run_id="manual__again", source="x", build=releases.build(3))


def test_it_is_in_the_menu_and_opens_within_airflows_ui(running, open_page):
    opened = open_page(viewport={"width": 1280, "height": 900})
    running.log_in(opened.page)
    unloaded = opened.page.request.get(f"{running.web.url}/api/v2/plugins/importErrors").json()
    assert unloaded["import_errors"] == [], "Airflow's first page shows them"
    opened.page.get_by_role("button", name="Browse").click()
    opened.page.get_by_text("Recommender releases").click()
    expect(opened.page).to_have_url(re.compile(r"/plugin/recommender-releases$"))
    shown = opened.page.frame_locator("iframe")
    expect(shown.get_by_role("heading", level=1)).to_have_text("Recommender releases")
    expect(shown.locator("#champion")).to_have_text(running.champion)


@pytest.mark.parametrize("look", ["light", "dark"])
def test_anyone_can_read_it(running, open_page, look):
    opened = open_page(color_scheme=look, viewport={"width": 1280, "height": 900})
    running.log_in(opened.page)
    opened.page.goto(running.web.url + PAGE)
    opened.accessible()


def test_it_fits_a_phone(running, open_page):
    opened = open_page(viewport={"width": 390, "height": 800})
    running.log_in(opened.page)
    opened.page.goto(running.web.url + PAGE)
    opened.accessible()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_rollback_by_keyboard_is_recorded_in_the_history(running, open_page):
    before = running.champion
    opened = open_page(viewport={"width": 1280, "height": 900})
    running.log_in(opened.page)
    opened.page.goto(f"{running.web.url}/plugin/recommender-releases")
    shown = opened.page.frame_locator("iframe")
    shown.get_by_role("button", name="Roll back").click()
    # The browser itself asks for the reason that is missing.
    assert running.champion == before
    shown.get_by_label("Reason").fill("complaints about westerns")
    shown.get_by_label("Reason").press("Enter")
    expect(shown.locator("body")).to_contain_text(f"Rolled back from {before} to")
    after = running.champion
    assert after != before
    expect(shown.locator("#champion")).to_have_text(after)
    expect(shown.locator("body")).to_contain_text("complaints about westerns")
    with running.services.connect() as conn:
        newest = ledger.history(conn, after)[0]
    assert newest["reason"] == "complaints about westerns"
    assert newest["actor"].startswith(running.web.username)
    assert newest["origin"] == "releases page"


def test_a_hundred_releases_are_shown_in_short_pages(running, open_page):
    opened = open_page(base_url=running.web.url, viewport={"width": 1440, "height": 900})
    page = opened.page
    running.log_in(page)
    page.goto(PAGE)
    expect(page.locator("#found")).to_have_text(f"{OLDER + 3} releases, page 1 of 11")
    rows = page.locator("table.releases th.id")
    expect(rows).to_have_count(10)
    assert page.evaluate("document.documentElement.scrollHeight") < 3_500
    # The gate's decision has the whole width of the table.
    gate = page.locator("tr.gate details").first
    gate.get_by_text("Gate: accepted").click()
    expect(gate.get_by_role("row", name="rmse_against_bias")).to_contain_text("passed")
    widths = [one.bounding_box()["width"] for one in (gate, page.locator("table.releases"))]
    assert widths[0] > 0.9 * widths[1]
    opened.accessible()
    page.get_by_role("link", name="oldest").click()
    expect(rows).to_have_count(3)
    page.get_by_label("State").select_option("champion")
    page.get_by_role("button", name="Show").click()
    expect(rows).to_have_text([running.champion])
    page.get_by_label("Release, dataset md5 or run").fill("run-old-7")
    page.get_by_label("State").select_option("")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#found")).to_contain_text("11 releases")


def test_a_triggered_run_asks_for_approval_with_all_that_a_person_needs(running, open_page):
    opened = open_page(base_url=running.web.url, viewport={"width": 1440, "height": 1200})
    page = opened.page
    running.log_in(page)
    with airflow.client(running.home) as client:
        client.wait_for_dag(DAG)
    fill_the_trigger_form(page)

    [run_id] = wait_for(lambda: waiting_runs(page))
    page.goto(PAGE)
    question = page.get_by_text(f"Promote release {running.rolled_back} to production?")
    expect(question).to_be_visible()
    opened.accessible()
    page.get_by_role("link", name="Open the form").click()

    form = page.locator("main, body").first
    for shown in (
        "this same release was rolled back",
        "by mary: complaints about <b>westerns</b>",
        "every binding rule passed",
        "RMSE",
        "What the site would notice",
        "of the 10 similar movies stay the same",
        "Answer before",
    ):
        expect(form).to_contain_text(shown)
    report = page.get_by_role("link", name="Open the report of this release")
    expect(report).to_have_attribute(
        "href", f"/recommender-releases/releases/{running.rolled_back}/report.html"
    )
    answer_form(page)
    with airflow.client(running.home) as client:

        def has_succeeded() -> bool:
            # Airflow takes a task for killed if it is resumed before the scheduler has noticed the
            # end of the process that asked, as can happen after a quick answer on a loaded machine.
            # Then the task is tried again, and asks again.
            if run_id in waiting_runs(page):
                page.reload()
                answer_form(page)
            return client.run_state(DAG, run_id) == "success"

        wait_for(has_succeeded, lambda: story_of(client, run_id))
        answer = client.xcom(DAG, run_id, "approve_release", "answer")
    assert answer.startswith("approved by")
    assert answer.endswith("who gave no reason")
    page.goto(PAGE)
    expect(question).to_have_count(0)


def fill_the_trigger_form(page: Page) -> None:
    """Starts a run by the form, which asks for four things and hides the rest."""
    page.goto(f"/dags/{DAG}")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog")
    # Airflow adds a star to the name of a field that is required.
    for name in (re.compile(r"^Dataset\b"), "Judge again", "Accept drift", "Require approval"):
        expect(form.get_by_text(name, exact=True).first).to_be_visible()
    limit = form.get_by_text("Max NDCG@10", exact=True)
    expect(limit).not_to_be_visible()
    form.get_by_text("Limits of the gate for this run").click()
    expect(limit).to_be_visible()
    # Of the DAG's own fields, only the dataset is required; Airflow adds fields of its own.
    required = form.locator("[id^=element_][required]")
    assert required.evaluate_all("all => all.map(one => one.id)") == ["element_source"]
    form.get_by_role("button", name="Trigger").click()
    expect(form).to_be_hidden()


def waiting_runs(page: Page) -> list[str]:
    """Ids of the runs whose approval waits for an answer."""
    tasks = page.request.get(f"/api/v2/dags/{DAG}/dagRuns/~/taskInstances?state=awaiting_input")
    return [task["dag_run_id"] for task in tasks.json()["task_instances"]]


def is_an_answer(response: Response) -> bool:
    """Whether a browser's request answered a question of a run."""
    return response.request.method == "PATCH" and response.url.endswith("/hitlDetails")


def answer_form(page: Page) -> None:
    """Clicks on Approve, and asserts that Airflow took the answer."""
    with page.expect_response(is_an_answer) as sent:
        page.get_by_test_id("hitl-option-Approve").click()
    assert sent.value.ok, sent.value.text()


def story_of(client: AirflowClient, run_id: str) -> str:
    """States of the tasks of a run, and the logs of its approval."""
    tasks = client.task_instances(DAG, run_id)
    [approval] = [task for task in tasks if task.task_id == "approve_release"]
    lines = [*map(str, tasks)]
    for number in range(1, approval.try_number + 1):
        # A try that never ran has no log.
        with suppress(PermanentError):
            lines += [f"try {number}", client.task_log(DAG, run_id, approval.task_id, number)]
    return "\n".join(lines)


def wait_for(condition: Callable[[], Any], story: Callable[[], str] = str) -> Any:
    """Waits until the condition is true; returns its value."""
    end = time.monotonic() + 300
    while not (found := condition()):
        assert time.monotonic() < end, f"it did not happen in five minutes\n{story()}"
        time.sleep(0.5)
    return found


def test_a_failed_run_names_task_error_and_log(running, open_page):
    with airflow.client(running.home) as client:
        client.wait_for_dag(DAG)
        client.unpause(DAG)
        run_id = client.trigger(DAG, {"fails": True})
        wait_for(lambda: client.run_state(DAG, run_id) == "failed")
    opened = open_page(base_url=running.web.url, viewport={"width": 1440, "height": 900})
    running.log_in(opened.page)
    opened.page.goto(PAGE)
    row = opened.page.get_by_role("row").filter(has_text=run_id)
    expect(row).to_contain_text("data_is_new failed: no <b>data</b> today; found: an empty zip")
    row.get_by_role("link", name=f"Log of data_is_new in {run_id}").click()
    expect(opened.page.locator("body")).to_contain_text("ask the publisher")


def store_fields(running: Stack) -> dict[str, str]:
    """What an administrator enters for the bucket, by the names of the form's fields."""
    s3 = running.services.s3
    assert s3.access_key is not None
    assert s3.secret_key is not None
    return {
        "login": s3.access_key.get_secret_value(),
        "password": s3.secret_key.get_secret_value(),
        "port": "0",
        "element_bucket_name": s3.bucket,
        "element_endpoint_url": str(s3.endpoint),
    }


def vectors_fields(running: Stack) -> dict[str, str]:
    """The same of the database."""
    found = conninfo_to_dict(running.services.postgres.dsn.get_secret_value())
    names = {"host": "host", "port": "port", "user": "login", "password": "password"}
    return {to: str(found[name]) for name, to in (names | {"dbname": "schema"}).items()}


def add_connection(page: Page, conn_id: str, kind: str, fields: dict[str, str]) -> None:
    """Adds a Connection by the form; fields of the extra are on a tab of their own."""
    page.goto("/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_role("combobox").fill(kind)
    page.get_by_role("option", name=kind).click()
    form.get_by_label("Connection ID").fill(conn_id)
    for name, value in fields.items():
        field = form.locator(f"[name={name}]")
        if name.startswith("element_") and not field.is_visible():
            form.get_by_role("button", name="Extra Fields", exact=True).click()
        field.fill(value)
    form.get_by_role("button", name="Save").click()
    expect(form).to_be_hidden()


@pytest.mark.parametrize(
    ("kind", "entered", "steps"),
    [
        ("Recommender store (S3)", store_fields, "write an object, read it, delete it"),
        ("Recommender vectors (pgvector)", vectors_fields, "query the live movie vectors"),
    ],
)
def test_the_test_button_uses_the_server(running, open_page, kind, entered, steps):
    fields, before = entered(running), running.services.store.keys("")
    page = open_page(base_url=running.web.url, viewport={"width": 1280, "height": 1400}).page
    running.log_in(page)
    for conn_id, password, outcome in (
        ("right", fields["password"], "Test Connection Successful"),
        ("wrong", "hush-hush", "Test Connection Failed"),
    ):
        conn_id = f"{conn_id}_{entered.__name__}"
        add_connection(page, conn_id, kind, {**fields, "password": password})
        row = page.get_by_role("row").filter(has_text=conn_id)
        with page.expect_response(re.compile("/connections/test$")) as answered:
            row.get_by_role("button", name="Test Connection").click()
        expect(page.get_by_text(outcome)).to_be_visible()
        answer = answered.value.json()
        assert answer["message"].startswith(f"{kind} ")
        assert ("what to do" if conn_id.startswith("wrong") else steps) in answer["message"]
        assert password not in page.content() + answer["message"]
    assert running.services.store.keys("") == before
