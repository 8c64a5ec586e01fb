"""docker/announce_image.py against Airflow's real API server, over HTTP."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from tests.descriptions import MOVIES

FIRST = "registry.example.org/recsys/trainer@sha256:" + "1" * 64
SECOND = "registry.example.org/recsys/trainer@sha256:" + "2" * 64


@pytest.fixture(scope="module")
def script(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "announce_image", repository / "docker/announce_image.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def airflow_url(airflow_db: None) -> Iterator[str]:
    """The API server on a port of its own."""
    import uvicorn
    from airflow.api_fastapi.app import create_app
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
        # Runs can be asked for once the DAG processor has stored the DAG.
        from airflow.configuration import conf
        from airflow.dag_processing.bundles.manager import DagBundlesManager

        DagBundlesManager().sync_bundles_to_db()
        folder = Path(conf.get("core", "dags_folder")) / "recsys_dag" / "recommenders.py"
        bag = DagBag(folder, bundle_path=folder.parent, bundle_name="dags-folder")
        sync_bag_to_db(bag, "dags-folder", None)
        config = uvicorn.Config(
            create_app(apps="core"), host="127.0.0.1", port=0, log_level="error"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the API server did not start"
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def environ(airflow_url: str) -> dict[str, str]:
    return {"AIRFLOW_URL": airflow_url, "AIRFLOW_TOKEN": token("ADMIN")}


def token(role: str) -> str:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    return str(get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="ci", role=role)))


def announced(key: str = "recsys_trainer_image") -> str | None:
    from airflow.models import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalar(select(Variable).where(Variable.key == key))
        return None if found is None else found.val


def runs() -> list[str]:
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        wanted = select(DagRun.run_id).where(DagRun.run_id.like("trainer-image-%"))
        return list(session.scalars(wanted))


def never(seconds: float) -> None:
    pytest.fail("nothing is worth another try here")


def test_the_image_of_another_recommender_is_another_variable(script, environ, capsys):
    before = announced()
    assert script.main([FIRST, "--variable", "books_image", "--dag", "books"], environ, never) == 0
    assert (announced("books_image"), announced()) == (FIRST, before)
    assert "the next run of books trains with it" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        script.main([FIRST, "--dag", "../variables"], environ, never)
    assert ended.value.code == script.BAD_CONFIG


def test_the_variable_is_made_and_then_changed(script, environ, capsys):
    for image in (FIRST, SECOND, SECOND):
        assert script.main([image], environ, never) == 0
        assert announced() == image
    out, err = capsys.readouterr()
    assert SECOND in out
    assert environ["AIRFLOW_TOKEN"] not in out + err
    assert runs() == []


def test_a_run_is_started_where_asked_for(script, environ):
    before = runs()
    assert script.main([FIRST, "--trigger"], environ, never) == 0
    [new] = set(runs()) - set(before)
    assert "1" * 12 in new


@pytest.mark.parametrize(
    "image", ["", "recsys-trainer", "x/trainer:1.0", "x@sha256:12", FIRST + "\n", "-x@" + FIRST]
)
def test_only_a_digest_is_announced(script, environ, image):
    before = announced()
    assert script.main(["--", image], environ, never) == script.BAD_CONFIG
    assert announced() == before


def test_what_is_announced_is_what_the_dag_accepts(script):
    from recsys_dag.trainer import settings

    assert script.VARIABLE == settings.IMAGE_VARIABLE
    assert script.IMAGE.pattern == settings.IMAGE_BY_DIGEST.pattern
    assert settings.digest_of(FIRST) == "sha256:" + "1" * 64


def test_the_dag_reads_what_was_announced(script, environ, monkeypatch):
    """Together with data_is_new, which compares builds: a new digest alone is a new build."""
    from recsys.contract import Build

    assert script.main([SECOND], environ, never) == 0
    from recsys_dag import settings

    builds = {
        Build(
            dataset_md5="a" * 32, trainer_digest=settings.trainer_digest(MOVIES, image), settings={}
        ).release_id
        for image in (FIRST, announced())
    }
    assert len(builds) == 2


@pytest.mark.parametrize(("role", "says"), [("VIEWER", "Forbidden"), (None, "Invalid JWT")])
def test_a_user_without_the_right_learns_what_is_missing(script, environ, role, says, capsys):
    before = announced()
    variables = environ | {"AIRFLOW_TOKEN": token(role) if role else "no-token"}
    assert script.main([FIRST.replace("1", "3")], variables, never) == script.BAD_CONFIG
    assert announced() == before
    err = capsys.readouterr().err
    assert says in err
    assert "what to do:" in err


def test_a_wrong_password_and_a_missing_one_are_refused(script, environ, capsys):
    url = {"AIRFLOW_URL": environ["AIRFLOW_URL"]}
    assert script.main([FIRST], url, never) == script.BAD_CONFIG
    assert "neither AIRFLOW_TOKEN nor AIRFLOW_USERNAME is set" in capsys.readouterr().err
    wrong = url | {"AIRFLOW_USERNAME": "admin", "AIRFLOW_PASSWORD": "hunter2"}
    assert script.main([FIRST], wrong, never) == script.BAD_CONFIG
    assert "hunter2" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["", "http://airflow.example.org", "ftp://127.0.0.1", "file:///etc", "https://u:p@x.org"]
)
def test_no_secret_goes_over_an_open_line(script, url, capsys):
    variables = {"AIRFLOW_URL": url, "AIRFLOW_TOKEN": "t"}
    assert script.main([FIRST], variables, never) == script.BAD_CONFIG
    assert "AIRFLOW_URL" in capsys.readouterr().err


def test_silence_is_worth_another_try(script, capsys):
    slept: list[float] = []
    variables = {"AIRFLOW_URL": "http://127.0.0.1:1", "AIRFLOW_TOKEN": "t"}
    assert script.main([FIRST], variables, slept.append) == script.UNAVAILABLE
    assert slept == sorted(slept) != []
    assert "try again" in capsys.readouterr().err


@pytest.mark.parametrize(("status", "code"), [(302, 78), (503, 75), (200, 78)])
def test_what_is_not_airflow_gets_the_token_once_and_no_more(script, status, code):
    asked: list[str] = []

    class Stranger(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(b"<html>")

        do_GET = do_PATCH

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        variables = {"AIRFLOW_URL": f"http://127.0.0.1:{server.server_port}", "AIRFLOW_TOKEN": "t"}
        assert script.main([FIRST], variables, lambda _: None) == code
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert "/elsewhere" not in asked
