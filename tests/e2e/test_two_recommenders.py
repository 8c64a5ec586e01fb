"""Two recommenders in one Airflow, on one PostgreSQL server and in one bucket."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from recsys import monitoring, recommenders
from recsys.dataset import write_sample
from recsys.recommenders import Description
from recsys.services import Services
from tests.dataset_layouts import GIVEN, write_in_layout
from tests.e2e.conftest import LENIENT, Pipeline, brief_settings
from tests.recommender_rows import all_rows

PARSE = """
import json, sys
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(json.dumps([
    {dag.dag_id: [dag.owner, sorted(dag.tags), sorted({task.pool for task in dag.tasks})]
     for dag in bag.dags.values()},
    {Path(file).name: text for file, text in bag.import_errors.items()},
]))
"""
BOOKS = """
name: books
title: Book recommender
source: /dumps/books.zip
owner: readers
schedule: 30 2 * * *
placement: {pool: books}
"""


def parse(folder: Path, repository: Path, **environment: str) -> tuple[dict, dict]:
    """DAGs and import errors of Airflow for a folder of descriptions, in a process of its own."""
    dags, errors = run_python(PARSE, folder, repository, **environment)
    return dags, errors


def run_python(code: str, folder: Path, repository: Path, **environment: str) -> Any:
    """What a process prints as JSON that has the folder of descriptions."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(repository / "dags")],
        env={**os.environ, "RECSYS_RECOMMENDERS": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def folder(tmp_path: Path, repository: Path) -> Path:
    """A folder with the description of the movie recommender."""
    folder = tmp_path / "recommenders"
    folder.mkdir()
    shutil.copy(repository / "recommenders/movie_rec_sys.yaml", folder)
    return folder


def test_a_file_adds_a_recommender_and_a_bad_one_spares_the_others(
    airflow_db: None, folder: Path, repository: Path
) -> None:
    before, errors = parse(folder, repository)
    assert errors == {}
    (folder / "books.yaml").write_text(BOOKS)
    (folder / "films.yaml").write_text("name: films\ntitle: Films\nsourc: /dumps/films.zip\n")
    after, errors = parse(folder, repository)
    assert list(errors) == ["invalid_descriptions.py"]
    assert f"{folder / 'films.yaml'}, line 3" in errors["invalid_descriptions.py"]
    assert "sourc" in errors["invalid_descriptions.py"]
    assert {dag_id: after[dag_id] for dag_id in before} == before
    added = {dag_id: after[dag_id] for dag_id in after.keys() - before.keys()}
    assert set(added) == {
        "books",
        *(f"books_{kind}" for kind in ("rollback", "recover", "tune", "erase")),
    }
    assert all(found == ["readers", ["books", "recsys"], ["books"]] for found in added.values())


TRAINED_ELSEWHERE = f"""
name: music
title: Music
source: /dumps/music.zip
trainer:
  launcher: kubernetes
  image: registry.example/music@sha256:{"1" * 64}
  timeout_hours: 30
  kubernetes:
    namespace: music
    secret: music-s3
    resources: {{limits: {{nvidia.com/gpu: "1"}}}}
"""
TRAINERS = """
import json
from recsys_dag.recommenders import DAGS
print(json.dumps({
    dag_id: [type(task).__name__, getattr(task, "namespace", None),
             [one.secret_ref.name for one in getattr(task, "env_from", [])],
             str(getattr(task, "container_resources", None)),
             task.execution_timeout.total_seconds() / 3600]
    for dag_id in ("movie_rec_sys", "music")
    for task in [DAGS[dag_id].get_task("train_dl_model")]
} | {"dags": sorted(DAGS)}))
"""


def test_a_trainer_that_is_described_is_that_of_the_dag(
    airflow_db: None, folder: Path, repository: Path
) -> None:
    (folder / "music.yaml").write_text(TRAINED_ELSEWHERE)
    (folder / "songs.yaml").write_text(BOOKS.replace("books", "songs") + "trainer: {workers: 2}\n")
    found = run_python(TRAINERS, folder, repository)
    movies, music = found["movie_rec_sys"], found["music"]
    assert movies[0] == "_PythonDecoratedOperator"
    assert music[:3] == ["TrainerPod", "music", ["music-s3"]]
    assert "nvidia.com/gpu" in music[3]
    assert (movies[4], music[4]) == (8, 30)
    # One that contradicts the variables has no DAGs, and is named.
    assert "songs" not in found["dags"]
    _, errors = parse(folder, repository)
    [(file, text)] = errors.items()
    assert file == "invalid_descriptions.py"
    assert "songs.yaml" in text
    assert "RECSYS_TRAINER_WORKERS needs Kubernetes" in text


def test_a_task_makes_its_own_dag_only(airflow_db: None, folder: Path, repository: Path) -> None:
    for number in range(9):
        (folder / f"shop_{number}.yaml").write_text(BOOKS.replace("books\n", f"shop_{number}\n", 1))
    (folder / "films.yaml").write_text("name: films\n")
    dags, errors = parse(folder, repository, _AIRFLOW_PARSING_CONTEXT_DAG_ID="shop_3_recover")
    assert errors == {}
    assert set(dags) == {"shop_3_recover", "recsys_check_connections"}


@pytest.fixture
def books(
    served: Pipeline, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Description, Services]]:
    """A second recommender on the servers of the first, which serves a release.

    Its dataset has other names of files and columns.
    """
    source = tmp_path / "books.zip"
    write_sample(tmp_path / "sample.zip", ratings=3_000, seed=5)
    write_in_layout(tmp_path / "sample.zip", source, "given names")
    build = json.loads(brief_settings()) | {"features": {"columns": GIVEN.model_dump()}}
    name = f"books_{uuid.uuid4().hex[:8]}"
    limits = {key.removeprefix("gate_"): value for key, value in LENIENT.items()}
    (folder / f"{name}.yaml").write_text(
        f"name: {name}\ntitle: Books\nsource: {source}\ngate: {json.dumps(limits)}\n"
        f"build: {json.dumps(build)}\n"
    )
    monkeypatch.setenv("RECSYS_RECOMMENDERS", str(folder))
    description = recommenders.read_descriptions(folder).valid[name]
    recommenders.provision(description, served.services)
    yield description, recommenders.services_of(description, served.services)
    with psycopg.connect(served.services.postgres.address(), autocommit=True) as conn:
        for statement, what in (
            ("drop database if exists {} with (force)", name),
            ("drop role if exists {}", description.namespace.site_role),
        ):
            conn.execute(sql.SQL(statement).format(sql.Identifier(what)))


def everything(services: Services) -> dict[str, list[str]]:
    """All rows of a recommender's database, and its objects with their times."""
    found = all_rows(services)
    found["objects"] = [
        f"{each.key} {each.modified} {each.size}" for each in services.store.objects("")
    ]
    return found


def test_a_second_recommender_lives_and_goes_beside_the_first(
    served: Pipeline, books: tuple[Description, Services], folder: Path
) -> None:
    from recsys_dag.recommenders import make_dag

    description, services = books
    names = description.namespace
    before = everything(served.services)
    first = served.run_dag(make_dag(names.weekly_dag), {"force": False, "require_approval": False})
    assert first.state == "success", first.errors
    assert first.ran("promote_release"), first.reason
    assert monitoring.problems(services) == []
    again = served.run_dag(make_dag(names.weekly_dag), {"force": False, "require_approval": False})
    assert again.reason == "this build is the champion"
    healed = served.run_dag(make_dag(names.recover_dag), {})
    assert healed.state == "success", healed.errors
    refused = served.run_dag(
        make_dag(names.rollback_dag), {"reason": "there is none", "release": None}
    )
    assert refused.state == "failed"

    own_prefix = names.key_prefix
    after = everything(served.services)
    after["objects"] = [line for line in after["objects"] if not line.startswith(own_prefix)]
    assert after == before
    champions = [
        monitoring.read_status(each)["champion"]["release_id"]
        for each in (services, served.services)
    ]
    assert len(set(champions)) == 2

    file = folder / f"{description.name}.yaml"
    list(recommenders.remove(description, file, served.services, even_served=True))
    assert everything(served.services) == before
    assert monitoring.problems(served.services) == []
    movies = served.run_dag(make_dag("movie_rec_sys_recover"), {})
    assert movies.state == "success", movies.errors
