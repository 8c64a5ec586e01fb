"""Two tenants in one Airflow, with its real manager of accounts: who sees and does what."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql
from pydantic import SecretStr

from recsys import monitoring, recommenders
from recsys.database import PostgresSettings
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.recommenders import Namespace
from recsys.releases import promote_release
from recsys.services import Services
from tests.actors import an_actor
from tests.conftest import fresh_bucket, fresh_database
from tests.e2e.conftest import connections
from tests.e2e.fab_airflow import (
    PASSWORD,
    PERSONS,
    REPOSITORY,
    Person,
    airflow_commands,
    api_server,
    environment,
)
from tests.release_maker import Releases

_SUFFIX = uuid.uuid4().hex[:8]
BOOKS, FILMS = f"books_{_SUFFIX}", f"films_{_SUFFIX}"
_FILE = "name: {}\ntitle: The {}\nsource: https://example.com/dump.zip\nroles: [{}]\n"
# A file with two DAGs; one of them gives rights as Airflow's documentation shows it.
_IDIOM = """
from airflow.sdk import DAG, task
with DAG("named_role", schedule=None, access_control={"no_such_role": {"DAGs": {"can_read"}}}):
    task(lambda: None, task_id="nothing")()
with DAG("beside_it", schedule=None):
    task(lambda: None, task_id="nothing")()
"""

# As docs/tenants.md shows it.
_TEAM = """
# The DAGs of one team of Airflow.
from recsys_dag.recommender_dags import dags_of_team
globals().update(dags_of_team("{}"))
"""
# What persons get from an API server in this process, without a network.
_ASK = """
import json, sys
from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from starlette.testclient import TestClient
app = create_app(apps="core")
def ask(name, role, teams, paths):
    person = TestClient(app, base_url="http://localhost", follow_redirects=False)
    user = SimpleAuthManagerUser(username=name, role=role, teams=teams)
    person.cookies.set("_token", get_auth_manager().generate_jwt(user))
    dags = [dag["dag_id"] for dag in person.get("/api/v2/dags?limit=100").json()["dags"]]
    return [dags, *(person.get(path).status_code for path in paths)]
print(json.dumps([ask(*person, json.loads(sys.argv[2])) for person in json.loads(sys.argv[1])]))
"""


@dataclass
class Tenants:
    """An Airflow with the tenants' recommenders."""

    folder: Path
    environment: dict[str, str]
    books: Services
    before: dict[str, list[Any]]

    def recsys(self, *arguments: str) -> str:
        """What a command says, in one line, in a container of Airflow."""
        # Not a fork of another process, which would not see the packages of FAB.
        done = subprocess.run(
            [Path(sys.executable).with_name("recsys"), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return " ".join(done.stdout.split())

    def rows(self, statement: str, **values: str) -> list[Any]:
        engine = sa.create_engine(self.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
        try:
            with engine.begin() as conn:
                found = conn.execute(sa.text(statement), values)
                return [tuple(row) for row in found] if found.returns_rows else []
        finally:
            engine.dispose()


@pytest.fixture(scope="module")
def tenants(
    postgres_server: Postgres, s3_server: S3, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tenants]:
    home, folder = tmp_path_factory.mktemp("airflow"), tmp_path_factory.mktemp("recommenders")
    shutil.copy(REPOSITORY / "recommenders/movie_rec_sys.yaml", folder)
    (folder / f"{BOOKS}.yaml").write_text(_FILE.format(BOOKS, "books", "readers"))
    (folder / f"{FILMS}.yaml").write_text(_FILE.format(FILMS, "films", "film_team"))
    with fresh_database(postgres_server) as dsn, fresh_bucket(s3_server) as s3:
        shared = Services(PostgresSettings(dsn=SecretStr(dsn)), s3)
        described = recommenders.read_descriptions(folder).valid
        for name in (BOOKS, FILMS):
            recommenders.provision(described[name], shared)
        variables = environment(home, folder, COLUMNS="200", **connections(shared))
        (home / "idiom/named_role.py").write_text(_IDIOM)
        made = Tenants(
            folder, variables, recommenders.services_of(described[BOOKS], shared), before={}
        )
        try:
            airflow_commands(variables, ["dags", "reserialize"], new=True)
            made.before["dags"] = made.rows("select dag_id, is_stale from dag")
            made.before["errors"] = made.rows("select filename, stacktrace from import_error")
            made.before["check"] = [made.recsys("recommender", "check")]
            made.before["made"] = [made.recsys("recommender", "roles")]
            made.before["made again"] = [made.recsys("recommender", "roles")]
            accounts = [
                [
                    *("users", "create", "--username", name, "--role", role),
                    *("--password", PASSWORD, "--email", f"{name}@example.com"),
                    *("--firstname", name, "--lastname", name),
                ]
                for name, role in PERSONS.items()
                if role
            ]
            airflow_commands(variables, *accounts)
            yield made
        finally:
            with psycopg.connect(dsn, autocommit=True) as conn:
                for name in (BOOKS, FILMS):
                    role = Namespace(name).site_role
                    for statement, what in (
                        ("drop database if exists {} with (force)", name),
                        ("drop role if exists {}", role),
                    ):
                        conn.execute(sql.SQL(statement).format(sql.Identifier(what)))


@pytest.fixture(scope="module")
def persons(tenants: Tenants, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable]:
    log = tmp_path_factory.mktemp("log") / "api-server.log"
    with api_server(tenants.environment, log) as address:
        known = {name: Person(address, name) for name in PERSONS}
        yield known.__getitem__


@pytest.fixture(scope="module")
def everybody(persons: Callable) -> Callable:
    """Asks five persons for the same; returns the statuses in the order of `PERSONS`."""

    def ask(what: Callable[[Person], Any]) -> list[int]:
        return [what(persons(name)).status_code for name in PERSONS]

    return ask


def _promoted(releases: Releases, number: int) -> str:
    release = releases.candidate(number)
    promote_release(releases.services, release, actor=an_actor())
    return release


def dag_ids(person: Person, path: str = "/api/v2/dags?limit=100") -> set[str]:
    return {each["dag_id"] for each in person.get(path).json()["dags"]}


def test_a_role_that_does_not_exist_yet_stops_no_dag(tenants):
    ours = dict(tenants.before["dags"])
    own = {dag_id for name in (BOOKS, FILMS) for dag_id in Namespace(name).dag_ids}
    assert own | {"movie_rec_sys"} <= ours.keys()
    assert [dag_id for dag_id, stale in ours.items() if stale and dag_id in own] == []
    assert (
        f"there is no Airflow role readers; `recsys recommender roles {BOOKS}`"
        in (tenants.before["check"][0])
    )


def test_airflows_own_way_would_stop_all_dags_of_the_file(tenants):
    """The reason why rights are given by a command; if this fails, ADR 40 can be revised."""
    [(file, error)] = tenants.before["errors"]
    assert file == "named_role.py"
    assert "that role does not exist" in error
    stale = dict(tenants.before["dags"])
    assert stale["named_role"]
    assert stale["beside_it"], "it names no role"


def test_roles_are_made_once_and_checked(tenants):
    assert "made the role readers" in tenants.before["made"][0]
    assert f"can_edit on DAG:{BOOKS}_rollback" in tenants.before["made"][0]
    again = tenants.before["made again"][0]
    assert again == (
        f"{BOOKS}: in order {FILMS}: in order movie_rec_sys: its description has no roles"
    )


def test_each_sees_the_dags_of_his_roles(persons):
    books, films = set(Namespace(BOOKS).dag_ids), set(Namespace(FILMS).dag_ids)
    assert dag_ids(persons("alice")) == books
    assert dag_ids(persons("bob")) == films
    assert books | films | {"movie_rec_sys"} < dag_ids(persons("admin"))
    assert dag_ids(persons("viewer")) == dag_ids(persons("admin"))
    assert persons("nobody").get("/api/v2/dags").status_code == 401
    # What the pages of Airflow's UI ask for.
    assert dag_ids(persons("alice"), "/ui/dags") == books


def test_only_the_tenant_and_the_admin_trigger(everybody, persons):
    body = {"logical_date": None, "conf": {}}
    path = f"/api/v2/dags/{BOOKS}/dagRuns"
    assert everybody(lambda who: who.post(path, json=body)) == [200, 200, 403, 403, 401]
    path = f"/api/v2/dags/{BOOKS}_rollback/dagRuns"
    body = {"logical_date": None, "conf": {"reason": "complaints"}}
    assert everybody(lambda who: who.post(path, json=body)) == [200, 200, 403, 403, 401]
    runs = "/api/v2/dags/~/dagRuns?limit=100"
    triggered = persons("alice").get(runs).json()["dag_runs"]
    assert {each["dag_id"] for each in triggered} == {BOOKS, f"{BOOKS}_rollback"}
    assert persons("bob").get(runs).json()["dag_runs"] == []
    assert persons("bob").patch(f"/api/v2/dags/{BOOKS}", json={"is_paused": False}).status_code == (
        403
    )


@pytest.mark.parametrize("path", ["", "overview.json"])
def test_only_who_may_sees_the_releases_page(everybody, path):
    page = f"/recommender-releases/of/{BOOKS}/{path}"
    assert everybody(lambda who: who.get(page)) == [200, 200, 404, 200, 401]


def test_the_page_does_not_tell_whether_another_recommender_exists(everybody, persons):
    page = "/recommender-releases/of/nothing_here/"
    assert everybody(lambda who: who.get(page)) == [404, 404, 404, 404, 401]
    other = persons("alice").get(f"/recommender-releases/of/{FILMS}/")
    nothing = persons("alice").get(page)
    assert (other.status_code, other.text) == (nothing.status_code, nothing.text)


def test_the_menu_leads_a_tenant_to_his_page(persons):
    menu = "/recommender-releases/"
    led = persons("alice").get(menu)
    assert (led.status_code, led.headers["location"]) == (303, f"{menu}of/{BOOKS}/")
    assert persons("bob").get(menu).headers["location"] == f"{menu}of/{FILMS}/"
    assert persons("nobody").get(menu).status_code == 401
    assert persons("alice").get(f"{menu}overview.json").status_code == 403
    own = persons("alice").get(f"{menu}of/{BOOKS}/").text
    assert "The films" not in own
    assert FILMS not in own
    all_of_them = persons("admin").get(menu).text
    assert f'href="{menu}of/{FILMS}/">The films</a>' in all_of_them
    plugins = persons("alice").get("/api/v2/plugins").json()["plugins"]
    assert "recommender_releases" in {each["name"] for each in plugins}


def test_only_the_tenant_and_the_admin_roll_back(tenants, persons):
    releases = Releases(tenants.books)
    first, second = (_promoted(releases, number) for number in (1, 2))
    page = f"/recommender-releases/of/{BOOKS}/"

    def champion() -> str:
        found: str = monitoring.read_status(tenants.books)["champion"]["release_id"]
        return found

    def roll_back(who: str, release: str, token: str) -> int:
        form = {"release": release, "reason": "complaints", "token": token}
        return persons(who).post(f"{page}rollback", data=form).status_code

    def token(who: str, of: str) -> str:
        text = persons(who).get(of).text
        return re.findall(r'name="token" value="([^"]+)"', text)[0]

    with pytest.raises(IndexError):
        token("viewer", page)
    assert roll_back("bob", first, token("alice", page)) == 404
    assert roll_back("viewer", first, "") == 403
    assert roll_back("nobody", first, "") == 401
    assert champion() == second
    assert roll_back("alice", first, token("alice", page)) == 303
    assert champion() == first
    assert roll_back("admin", second, token("admin", page)) == 303
    assert champion() == second


def test_only_the_tenant_and_the_admin_answer_the_question(tenants, persons):
    body = {"logical_date": None, "conf": {}, "dag_run_id": "asked"}
    created = persons("admin").post(f"/api/v2/dags/{BOOKS}/dagRuns", json=body)
    assert created.status_code == 200, created.text
    [(ti_id,)] = tenants.rows(
        "select id from task_instance where dag_id = :dag and run_id = 'asked'"
        " and task_id = 'approve_release'",
        dag=BOOKS,
    )
    tenants.rows("update task_instance set state = 'awaiting_input' where id = :id", id=ti_id)
    tenants.rows(
        "insert into hitl_detail (ti_id, options, subject, multiple, params, params_input,"
        " created_at) values (:id, '[\"Approve\", \"Reject\"]', 'Promote?', 0, '{}', '{}',"
        " current_timestamp)",
        id=ti_id,
    )
    path = f"/api/v2/dags/{BOOKS}/dagRuns/asked/taskInstances/approve_release/-1/hitlDetails"
    questions = "/api/v2/dags/~/dagRuns/~/hitlDetails"

    def answer(who: str) -> int:
        chosen = {"chosen_options": ["Reject"], "params_input": {}}
        return persons(who).patch(path, json=chosen).status_code

    assert [answer(who) for who in ("bob", "viewer", "nobody")] == [403, 403, 401]
    assert persons("bob").get(questions).json()["total_entries"] == 0
    assert persons("alice").get(questions).json()["total_entries"] == 1
    assert persons("bob").get(path).status_code == 403
    assert answer("alice") == 200
    assert answer("admin") == 409, "it was answered"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        # A list of these has no owners: it would name what all tenants have.
        ("/api/v2/assets", [200, 403, 403, 200, 401]),
        ("/api/v2/importErrors", [200, 403, 403, 200, 401]),
        ("/api/v2/connections", [200, 403, 403, 403, 401]),
        ("/api/v2/variables", [200, 403, 403, 403, 401]),
        ("/api/v2/eventLogs", [200, 403, 403, 403, 401]),
        ("/api/v2/dags/recsys_check_connections/dagRuns", [200, 403, 403, 200, 401]),
        ("/api/v2/dags/{films}/dagRuns", [200, 403, 200, 200, 401]),
        ("/api/v2/dags/{films}/details", [200, 403, 200, 200, 401]),
        ("/api/v2/dags/{films}/tasks", [200, 403, 200, 200, 401]),
    ],
)
def test_what_is_shared_is_not_shown_to_tenants(everybody, path, expected):
    # Their names differ in each process, and those of the parameters must not.
    address = path.format(films=FILMS)
    assert everybody(lambda who: who.get(address)) == expected


def test_nobody_but_the_admin_starts_others_by_an_event_of_an_asset(everybody, persons):
    assets = persons("admin").get(f"/api/v2/assets?name_pattern={FILMS}").json()["assets"]
    event = {"asset_id": assets[0]["id"], "extra": {}}
    asked = everybody(lambda who: who.post("/api/v2/assets/events", json=event))
    assert asked == [200, 403, 403, 403, 401]


def test_who_is_no_longer_named_loses_his_rights(tenants, persons):
    file = tenants.folder / f"{BOOKS}.yaml"
    before = file.read_text()
    page = f"/recommender-releases/of/{BOOKS}/"
    assert persons("alice").get(page).status_code == 200
    try:
        file.write_text(before.replace("[readers]", "[film_team]"))
        assert "the role readers has rights on its DAGs" in tenants.recsys("recommender", "check")
        changed = tenants.recsys("recommender", "roles", BOOKS)
        assert f"took from readers can_edit on DAG:{BOOKS}" in changed
        deadline = time.monotonic() + 60
        while persons("alice").get(page).status_code != 404 and time.monotonic() < deadline:
            time.sleep(0.5)
        assert persons("alice").get(page).status_code == 404
        assert persons("bob").get(page).status_code == 200
    finally:
        file.write_text(before)
        tenants.recsys("recommender", "roles", BOOKS)
    assert f"{BOOKS}: in order" in tenants.recsys("recommender", "check", BOOKS)


def test_teams_see_their_dags_and_pages_where_airflow_has_teams(tenants, tmp_path):
    folder = tmp_path / "recommenders"
    shutil.copytree(tenants.folder, folder)
    bundles = [("dags-folder", str(REPOSITORY / "dags"), None)]
    for name, team in ((BOOKS, "readers"), (FILMS, "film_team")):
        file = folder / f"{name}.yaml"
        file.write_text(file.read_text() + f"team: {team}\n")
        (tmp_path / team).mkdir()
        (tmp_path / team / "recommenders_of_the_team.py").write_text(_TEAM.format(team))
        bundles.append((team, str(tmp_path / team), team))
    variables = tenants.environment | {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__AUTH_MANAGER": (
            "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
        ),
        "AIRFLOW__CORE__MULTI_TEAM": "True",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "alice:user:readers,bob:user:film_team",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(
            [
                {
                    **{"name": name, "kwargs": {"path": path}, "team_name": team},
                    "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                }
                for name, path, team in bundles
            ]
        ),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "RECSYS_RECOMMENDERS": str(folder),
    }
    airflow_commands(variables, ["teams", "sync"], ["dags", "reserialize"], new=True)
    persons = [("alice", "USER", ["readers"]), ("bob", "USER", ["film_team"]), ("ann", "ADMIN", [])]
    paths = [f"/recommender-releases/of/{BOOKS}/", "/recommender-releases/of/nothing_here/"]
    done = subprocess.run(
        [sys.executable, "-c", _ASK, json.dumps(persons), json.dumps(paths)],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    alice, bob, ann = json.loads(done.stdout.splitlines()[-1])
    books, films = set(Namespace(BOOKS).dag_ids), set(Namespace(FILMS).dag_ids)
    # Airflow shows what has no team to all people who have logged in.
    shared = {*Namespace("movie_rec_sys").dag_ids, "recsys_check_connections"}
    assert set(alice[0]) == books | shared
    assert set(bob[0]) == films | shared
    assert set(ann[0]) == books | films | shared
    assert [each[1:] for each in (alice, bob, ann)] == [[200, 404], [404, 404], [200, 404]]


def test_a_recommender_that_is_removed_leaves_no_rights_to_its_name(tenants):
    rights = (
        "select role.name from ab_permission_view_role held"
        " join ab_role role on role.id = held.role_id"
        " join ab_permission_view pair on pair.id = held.permission_view_id"
        " join ab_view_menu resource on resource.id = pair.view_menu_id"
        " where resource.name = :name and role.name <> 'Admin'"
    )
    of_films = f"DAG:{FILMS}"
    assert set(tenants.rows(rights, name=of_films)) == {("film_team",)}
    said = tenants.recsys("recommender", "remove", FILMS, "--no-export", "--yes")
    assert f"removed database {FILMS}" in said
    assert "took from film_team" in said
    assert tenants.rows(rights, name=of_films) == []
    assert set(tenants.rows(rights, name=f"DAG:{BOOKS}")) == {("readers",)}
