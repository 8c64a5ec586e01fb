"""The page "Recommender releases" in Airflow's own API server, with its real logins and roles."""

from __future__ import annotations

import functools
import importlib.util
import re
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from fastapi import FastAPI
from psycopg import sql
from pydantic import SecretStr

from recsys import contract, ledger, monitoring, pipeline, recommenders
from recsys.database import PostgresSettings
from recsys.gate import Decision, ForwardSettings
from recsys.gate.measures import RuleResult
from recsys.ledger import Action
from recsys.object_store import S3Settings
from recsys.releases import promote_release, roll_back
from recsys.services import Services
from tests.actors import an_actor
from tests.dump_releases import DumpReleases, constant, three_dumps
from tests.e2e.conftest import connections
from tests.impossible_metrics import IMPOSSIBLE, SCRIPT, ImpossibleReleases
from tests.release_maker import Releases

PAGE = "/recommender-releases/"
ROLLBACK = "/recommender-releases/rollback"


@pytest.fixture(scope="module")
def app(airflow_db):
    from airflow.api_fastapi.app import create_app

    return create_app(apps="core")


@pytest.fixture
def services(postgres_dsn: str, s3_settings: S3Settings) -> Iterator[Services]:
    made = Services(postgres=PostgresSettings(dsn=SecretStr(postgres_dsn)), s3=s3_settings)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in connections(made).items():
            patched.setenv(name, value)
        yield made


@pytest.fixture
def two_champions(services: Services) -> tuple[str, str]:
    """The champion and the one before it."""
    releases = Releases(services)
    ids = []
    for number in (1, 2):
        ids.append(releases.candidate(number))
        promote_release(services, ids[-1], actor=an_actor())
    return ids[1], ids[0]


@pytest.fixture
def client(app, monkeypatch):
    """Makes a browser's session: the cookie of a user with that role."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from starlette.testclient import TestClient

    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")

    def log_in(role: str | None, name: str = "mary", *, app: FastAPI) -> TestClient:
        made = TestClient(app, base_url="http://localhost", follow_redirects=False)
        if role:
            user = SimpleAuthManagerUser(username=name, role=role)
            made.cookies.set("_token", get_auth_manager().generate_jwt(user))
        return made

    return functools.partial(log_in, app=app)


@pytest.fixture
def below_a_path(client, monkeypatch):
    """Makes a session with an Airflow at https://host/airflow, whose proxy keeps the path."""
    from airflow.api_fastapi import app as airflows

    # Airflow reads its setting once, when this module is imported.
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://host/airflow/")
    monkeypatch.setattr(airflows, "API_ROOT_PATH", "/airflow/")
    monkeypatch.setitem(client.keywords, "app", airflows.create_app(apps="core"))
    return client


def token(page: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found, "the page has no form"
    return found[1]


def champion(services: Services) -> str:
    return monitoring.read_status(services)["champion"]["release_id"]


def test_airflow_lists_the_page_in_its_menu(client, services):
    plugins = client("ADMIN").get("/api/v2/plugins").json()["plugins"]
    views = [view for plugin in plugins for view in plugin["external_views"]]
    assert "Recommender releases" in {view["name"] for view in views}


@pytest.mark.parametrize("path", [PAGE, "/recommender-releases/overview.json"])
def test_nobody_looks_without_a_login(client, services, path):
    assert client(None).get(path).status_code == 401


def test_an_empty_ledger_is_shown_as_such(client, services):
    page = client("VIEWER").get(PAGE)
    assert page.status_code == 200
    assert "No release yet" in page.text


def test_champion_history_and_the_gates_reasons_are_shown(client, services, two_champions):
    live, before = two_champions
    page = client("ADMIN").get(PAGE).text
    assert f'id="champion">{live}<' in page
    assert before in page
    assert "every binding rule passed" in page or "passed:" in page
    assert "candidate → champion" in page
    assert page.count("<svg") == 2
    assert client("ADMIN").get("/recommender-releases/overview.json").json()["champion"] == live


def test_releases_are_searched_and_filtered(client, services, two_champions):
    live, before = two_champions
    browser = client("VIEWER")

    def rows(**query: object) -> list[str]:
        page = browser.get(PAGE, params=query).text
        return re.findall(r'<th scope="row" class="id">([^<]+)<', page)

    assert set(rows()) == {live, before}
    assert rows(state="superseded") == [before]
    assert rows(search=live) == [live]
    assert rows(search=live, state="superseded") == []
    assert set(rows(state="no such state")) == {live, before}
    assert browser.get(PAGE, params={"page": 0}).status_code == 422
    nothing = browser.get(PAGE, params={"search": '"><script>\0'}).text
    assert "No release matches" in nothing
    assert f'id="champion">{live}<' in nothing
    assert "<script" not in nothing
    document = browser.get("/recommender-releases/overview.json", params={"search": live}).json()
    assert [release["release_id"] for release in document["releases"]] == [live]


def test_pages_are_linked_and_keep_the_search(client, services, two_champions, monkeypatch):
    _, before = two_champions
    monkeypatch.setattr("recsys_plugin.app.PER_PAGE", 1)
    browser = client("VIEWER")
    first = browser.get(PAGE, params={"search": "run"}).text
    [older] = re.findall(r'rel="next" href="([^"]+)"', first)
    assert 'rel="prev"' not in first
    second = browser.get(older.replace("&amp;", "&")).text
    assert f'class="id">{before}<' in second
    assert "2 releases, page 2 of 2" in second
    assert 'value="run"' in second
    assert 'rel="next"' not in second


def test_it_says_what_each_run_did_and_why(client, services, two_champions):
    live, _ = two_champions
    rule = RuleResult(
        name="drift", value=0.31, threshold=0.25, passed=False, reason="far away", binding=False
    )
    decision = Decision(accepted=False, rules=[rule], reason="too <b>bad</b>")
    with services.connect() as conn:
        ledger.record_decision(conn, live, None, "manual__judged", decision, None)
        ledger.note(
            conn,
            Action.NOTHING_NEW,
            actor=an_actor("t", "judged before"),
            release_id=live,
            run_id="scheduled__idle",
        )
        ledger.note(
            conn, Action.RUN_FAILED, actor=an_actor("t", "no disk"), run_id="manual__broken"
        )
    outcomes = client("ADMIN").get("/recommender-releases/overview.json").json()["outcomes"]
    assert outcomes["manual__judged"] == {
        "release_id": live,
        "done": "rejected",
        "reason": "too <b>bad</b>",
    }
    assert outcomes["scheduled__idle"] == {
        "release_id": live,
        "done": "nothing new",
        "reason": "judged before",
    }
    assert outcomes["manual__broken"] == {
        "release_id": None,
        "done": "failed",
        "reason": "no disk",
    }
    from recsys_plugin.runs import RunLine

    lines = [
        RunLine(
            dag_id="movie_rec_sys",
            run_id=run_id,
            state="success",
            started=None,
            seconds=None,
            started_by=None,
        )
        for run_id in outcomes
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("recsys_plugin.runs.last_runs", lambda _: lines)
        page = client("ADMIN").get(PAGE).text
    assert "failed: no disk" in page
    assert "too &lt;b&gt;bad" in page
    assert ">0.31</td>" in page


def test_what_was_promised_and_realized_is_shown_after_two_dumps_of_one_history(
    client, services, tmp_path
):
    made = DumpReleases(services, three_dumps(tmp_path))
    settings = ForwardSettings(min_rows=50)
    first = made.promoted(1)
    run = made.features(2)
    [complete] = pipeline.forward_test(services, run, settings, constant({1: 2.0}, made))
    page = client("VIEWER").get(PAGE).text
    table = page[page.index('<table id="forward">') :].partition("</table>")[0]
    assert table.count(f"{first} (champion)") == 3
    for name, found in complete.metrics.items():
        assert f">{name}</td>" in table
        assert f"{found.value:.4f}" in table
    assert "rmse: 0 of 1 champions in the promised interval, 0 no further from the promise" in page

    # Of a release whose stars nobody predicted, the rankings are shown, and why there is no RMSE.
    second = made.promoted(2)
    run = made.features(3)
    pipeline.forward_test(services, run, settings, pipeline.predicted_by_verifier(run))
    page = client("VIEWER").get(PAGE).text
    table = page[page.index('<table id="forward">') :].partition("</table>")[0]
    assert f"{second} (champion)" in table
    assert table.count(">ndcg@10</td>") == 3
    assert table.count(">rmse</td>") == 1, "of the earlier test"
    assert table.count("its stars were not tested: the verifier predicted no stars") == 2


def test_a_viewer_sees_no_button_and_is_refused(client, services, two_champions):
    viewer = client("VIEWER")
    assert 'name="token"' not in viewer.get(PAGE).text
    answer = viewer.post(ROLLBACK, data={"release": two_champions[1], "reason": "x", "token": "x"})
    assert answer.status_code == 403
    assert champion(services) == two_champions[0]


def test_a_rollback_goes_back_and_leaves_actor_and_reason_in_the_history(
    client, services, two_champions
):
    _, before = two_champions
    browser = client("USER")
    form = {
        "release": before,
        "reason": "complaints about westerns",
        "token": token(browser.get(PAGE).text),
    }
    answer = browser.post(ROLLBACK, data=form, headers={"sec-fetch-site": "same-origin"})
    assert answer.status_code == 303
    assert champion(services) == before
    assert f"to {before}." in browser.get(answer.headers["location"]).text
    with services.connect() as conn:
        newest = ledger.history(conn, before)[0]
    assert newest["reason"] == "complaints about westerns"
    assert newest["actor"].startswith("mary")
    assert newest["origin"] == "releases page"


@pytest.mark.parametrize(
    ("headers", "forged"),
    [
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({}, True),
    ],
)
def test_a_form_of_another_site_changes_nothing(client, services, two_champions, headers, forged):
    browser = client("ADMIN")
    sent = "forged" if forged else token(browser.get(PAGE).text)
    form = {"release": two_champions[1], "reason": "x", "token": sent}
    assert browser.post(ROLLBACK, data=form, headers=headers).status_code == 403
    assert champion(services) == two_champions[0]


def test_a_token_serves_only_the_user_it_was_made_for(client, services, two_champions):
    stolen = token(client("ADMIN", "eve").get(PAGE).text)
    form = {"release": two_champions[1], "reason": "x", "token": stolen}
    assert client("ADMIN", "mary").post(ROLLBACK, data=form).status_code == 403


@pytest.mark.parametrize(
    ("release", "reason", "said"),
    [
        ("target", "  ", "needs a reason"),
        ("../../etc", "x", "not a release id"),
        ("00000000-00000000", "x", "00000000-00000000"),
    ],
)
def test_a_rollback_that_cannot_be_says_why(client, services, two_champions, release, reason, said):
    browser = client("ADMIN")
    form = {
        "release": two_champions[1] if release == "target" else release,
        "reason": reason,
        "token": token(browser.get(PAGE).text),
    }
    answer = browser.post(ROLLBACK, data=form)
    assert answer.status_code == 303
    assert said in browser.get(answer.headers["location"]).text
    assert champion(services) == two_champions[0]


def test_all_links_work_below_the_path_of_airflow(below_a_path, services, two_champions):
    _, before = two_champions
    key = contract.release_key(before, contract.REPORT_FILE)
    services.store.put_bytes(key, b"<html><body>its report</body></html>")
    line = {
        "dag_id": "movie_rec_sys",
        "run_id": "manual__1",
        "state": "failed",
        "started": None,
        "seconds": None,
    }
    browser = below_a_path("ADMIN")
    with pytest.MonkeyPatch.context() as patched:
        from recsys_plugin.runs import RunLine

        patched.setattr("recsys_plugin.app.PER_PAGE", 1)
        patched.setattr(
            "recsys_plugin.runs.last_runs", lambda _: [RunLine(**line, started_by="mary")]
        )
        page = browser.get(f"/airflow{PAGE}").text
    links = set(re.findall(r'(?:href|action)="([^"]+)"', page))
    assert "/airflow/dags/movie_rec_sys/runs/manual__1" in links
    assert f"/airflow{PAGE}?page=2" in links
    assert f"/airflow{ROLLBACK}" in links
    # The charts refer to their own parts.
    elsewhere = {link for link in links if not link.startswith("#")}
    assert {link for link in elsewhere if not link.startswith("/airflow/")} == set()
    report = browser.get(f"/airflow/recommender-releases/releases/{before}/report.html").text
    assert f'<a href="/airflow{PAGE}">All releases</a>' in report
    form = {"release": before, "reason": "complaints", "token": token(page)}
    answer = browser.post(f"/airflow{ROLLBACK}", data=form)
    assert answer.headers["location"].startswith(f"/airflow{PAGE}?message=")
    assert f"to {before}." in browser.get(answer.headers["location"]).text


def test_airflows_menu_opens_the_page_below_the_path_of_airflow(monkeypatch):
    import recsys_plugin

    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://host/airflow")
    spec = importlib.util.spec_from_file_location("plugin_anew", recsys_plugin.__file__)
    assert spec
    assert spec.loader
    anew = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(anew)
    [view] = anew.ReleasesPlugin.external_views
    assert view["href"] == f"/airflow{PAGE}"


def test_words_of_a_link_are_not_shown_as_ours(client, services):
    assert "all is lost" not in client("ADMIN").get(PAGE, params={"message": "all is lost"}).text


def test_a_database_that_is_down_is_explained(client, services, monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_RECSYS_PG_VECTOR_BACKEND", "postgresql://u:secret@127.0.0.1:1/x"
    )
    page = client("ADMIN").get(PAGE)
    assert page.status_code == 503
    assert "what to do" in page.text
    assert "secret" not in page.text


def test_candidates_with_impossible_metrics_are_listed_like_all_others(client, services):
    made = ImpossibleReleases(services)
    ids = [made.without_decision(number) for number in range(len(IMPOSSIBLE))]
    for path in (PAGE, "/recommender-releases/overview.json"):
        pages = [client("ADMIN").get(path, params={"page": number}) for number in (1, 2)]
        assert [page.status_code for page in pages] == [200, 200], pages[0].text[:500]
        text = "".join(page.text for page in pages)
        assert all(release_id in text for release_id in ids)
        assert SCRIPT not in text or path.endswith(".json")


def test_text_of_the_ledger_cannot_become_markup(client, services, two_champions):
    roll_back(services, two_champions[1], actor=an_actor("<b>x</b>", "<script>1</script>"))
    page = client("ADMIN").get(PAGE)
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("release", ["00000000-00000000", "nonsense"])
def test_a_report_that_is_not_there_is_not_found(client, services, release):
    answer = client("VIEWER").get(f"/recommender-releases/releases/{release}/report.html")
    assert answer.status_code == 404


@pytest.fixture
def books(services: Services, tmp_path, monkeypatch) -> Iterator[Services]:
    """A second recommender, whose description is beside that of the movies."""
    name = f"books_{uuid.uuid4().hex[:8]}"
    for each, source in (("movie_rec_sys", ""), (name, "source: /dumps/books.zip\n")):
        (tmp_path / f"{each}.yaml").write_text(f"name: {each}\ntitle: Of {each}\n{source}")
    monkeypatch.setenv("RECSYS_RECOMMENDERS", str(tmp_path))
    description = recommenders.read_descriptions(tmp_path).valid[name]
    recommenders.provision(description, services)
    yield recommenders.services_of(description, services)
    with psycopg.connect(services.postgres.address(), autocommit=True) as conn:
        for statement, what in (
            ("drop database {} with (force)", name),
            ("drop role {}", description.namespace.site_role),
        ):
            conn.execute(sql.SQL(statement).format(sql.Identifier(what)))


def test_each_recommender_has_a_page_of_its_own(client, services, two_champions, books):
    releases = Releases(books)
    for number in (3, 4):
        promote_release(books, releases.candidate(number), actor=an_actor())
    name = books.s3.prefix.rstrip("/")
    browser, page = client("ADMIN"), f"{PAGE}of/{name}/"
    shown = browser.get(page).text
    assert f"Recommender releases: Of {name}" in shown
    assert f'id="champion">{champion(books)}<' in shown
    assert two_champions[0] not in shown
    form = {"release": releases.build(3).release_id, "reason": "complaints", "token": token(shown)}
    answer = browser.post(f"{page}rollback", data=form)
    assert answer.headers["location"].startswith(page)
    assert champion(books) == releases.build(3).release_id
    assert champion(services) == two_champions[0]
    # A release of one is not found on the page of another.
    form["release"] = two_champions[1]
    browser.post(f"{page}rollback", data=form)
    assert champion(books) == releases.build(3).release_id
    assert client(None).get(page).status_code == 401
    assert browser.get(f"{PAGE}of/nobody/").status_code == 404
    assert client("VIEWER").post(f"{page}rollback", data=form).status_code == 403
