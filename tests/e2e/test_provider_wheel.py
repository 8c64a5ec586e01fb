"""The provider's wheel in an environment that has Airflow, but neither the project nor its sources.

The environment has the packages of the lock file, by links, and only pip adds to it: pip finds out
whether they are all that the wheels ask for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from tests.e2e.release_world import World, of_provider, release_world
from tests.wheels import build_wheel

pytestmark = pytest.mark.slow

Run = Callable[..., str]
# The example DAGs, where pip has put them.
_EXAMPLES = "import airflow_provider_recsys.example_dags as found; print(found.__path__[0])"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Run:
    """Runs a program of an environment in which pip has installed the provider's wheel."""
    folder = tmp_path_factory.mktemp("bare")
    wheels = folder / "wheels"
    wheels.mkdir()
    both = [str(build_wheel(repository, project, wheels)) for project in (".", "provider")]
    venv.create(folder / "venv", with_pip=True)
    others = folder / "others"
    others.mkdir()
    for each in Path(sysconfig.get_path("purelib")).iterdir():
        if "recsys" not in each.name:
            (others / each.name).symlink_to(each)
    site = next((folder / "venv/lib").iterdir()) / "site-packages"
    (site / "others.pth").write_text(f"{others}\n")

    def run(program: str, *arguments: str, **variables: str) -> str:
        done = subprocess.run(
            [folder / "venv/bin/python", *_start(program), *arguments],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(folder),
                "AIRFLOW_HOME": str(folder / "airflow"),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
                "COLUMNS": "200",
                **variables,
            },
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # Nothing is downloaded: what is missing is an error.
    run("pip", "install", "--no-index", *both)
    return run


def _start(program: str) -> list[str]:
    return [] if program == "python" else ["-m", program]


@pytest.fixture(scope="module")
def world(airflow_db: None, postgres_server: Postgres, s3_server: S3) -> Iterator[World]:
    with release_world(postgres_server, s3_server) as made:
        yield made


def test_nothing_of_the_sources_is_on_the_path(bare: Run, repository: Path) -> None:
    code = "import airflow_provider_recsys as a, recsys_dag as b, recsys as c, sys\n"
    code += "print(a.__file__, b.__file__, c.__file__, *sys.path)"
    assert f"{repository}/" not in bare("python", "-c", code).replace(sys.prefix, "")


def test_airflow_lists_the_provider_and_its_connection_types(bare: Run) -> None:
    [found] = [
        each
        for each in json.loads(bare("airflow", "providers", "list", "--output", "json"))
        if each["package_name"] == "airflow-provider-recsys"
    ]
    assert found["version"] == "0.1.0"
    hooks = json.loads(bare("airflow", "providers", "hooks", "--output", "json"))
    ours = {each["connection_type"] for each in hooks if "recsys" in str(each["package_name"])}
    assert ours == {"recsys_store", "recsys_vectors"}


def test_an_example_dag_runs(bare: Run, world: World, tmp_path: Path) -> None:
    examples = bare("python", "-c", _EXAMPLES).strip()
    variables = {"AIRFLOW__CORE__DAGS_FOLDER": examples, **of_provider(world.services)}
    bare("airflow", "db", "migrate", **variables)
    conf = json.dumps({"folder": str(tmp_path)})
    bare("airflow", "dags", "test", "example_recsys_nightly_export", "--conf", conf, **variables)
    [file] = tmp_path.iterdir()
    assert file.name == f"{world.champion}.csv"
    with world.services.connect() as conn:
        [(count,)] = conn.execute("select count(*) from movie_vectors").fetchall()
    assert len(file.read_text().splitlines()) == count > 0
