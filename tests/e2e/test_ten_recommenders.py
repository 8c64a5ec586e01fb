"""Ten recommenders in one Airflow, on one PostgreSQL server and in one bucket."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from recsys import monitoring, recommenders
from recsys.dataset import write_sample
from recsys.recommenders import Description
from recsys.releases.lock import PROMOTION_LOCK
from recsys.services import Services
from tests.command_line import servers
from tests.e2e.conftest import LENIENT, Outcome, Pipeline
from tests.e2e.test_two_recommenders import parse
from tests.recommender_rows import all_rows
from tests.recsys_command import run_recsys

GIVEN = {"force": False, "require_approval": False}
QUICK = {
    "trainer": {"overrides": {"rating": {"members": 1, "epochs": 2}, "ranking": {"epochs": 1}}}
}
OTHERS = re.compile(r"shop_[0-9a-f]{8}_\d/")


@pytest.fixture
def folder(tmp_path: Path, repository: Path) -> Path:
    """A folder with the description of the movie recommender."""
    folder = tmp_path / "recommenders"
    folder.mkdir()
    shutil.copy(repository / "recommenders/movie_rec_sys.yaml", folder)
    return folder


@dataclass(frozen=True)
class Member:
    """One of several recommenders that share servers, and runs of its DAGs."""

    description: Description
    services: Services
    pipeline: Pipeline

    def weekly(self, **conf: Any) -> Outcome:
        """A run of the weekly DAG."""
        return self._run(self.description.namespace.weekly_dag, {**GIVEN, **conf})

    def recover(self) -> Outcome:
        """A run of the DAG that runs every five minutes."""
        return self._run(self.description.namespace.recover_dag, {})

    def roll_back(self, reason: str) -> Outcome:
        """A run of the DAG that rolls back."""
        conf = {"reason": reason, "release": None}
        return self._run(self.description.namespace.rollback_dag, conf)

    def champion(self) -> str:
        """The release that readers see."""
        return str(monitoring.read_status(self.services)["champion"]["release_id"])

    def content(self) -> dict[str, list[str]]:
        """All rows of its database, with their place and transaction, and its objects' times."""
        found = all_rows(self.services)
        # Below the prefix of the first one are the others.
        own = [each for each in self.services.store.objects("") if not OTHERS.match(each.key)]
        found["objects"] = [f"{each.key} {each.modified} {each.size}" for each in own]
        return found

    def _run(self, dag_id: str, conf: dict[str, Any]) -> Outcome:
        from recsys_dag.recommenders import make_dag

        return self.pipeline.run_dag(make_dag(dag_id), conf)


@pytest.fixture
def make_members(
    served: Pipeline,
    folder: Path,
    small_dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[int], list[Member]]]:
    """Makes recommenders on the servers of the first one, which serves a release."""
    monkeypatch.setenv("RECSYS_RECOMMENDERS", str(folder))
    limits = {key.removeprefix("gate_"): value for key, value in LENIENT.items()}
    made: list[Description] = []

    def make(count: int) -> list[Member]:
        mark = uuid.uuid4().hex[:8]
        for number in range(count):
            name = f"shop_{mark}_{number}"
            (folder / f"{name}.yaml").write_text(
                f"name: {name}\ntitle: Shop {number}\nsource: {small_dataset}\n"
                f"gate: {json.dumps(limits)}\nbuild: {json.dumps(QUICK)}\n"
            )
            made.append(recommenders.read_descriptions(folder).valid[name])
            recommenders.provision(made[-1], served.services)
        return [Member(one, recommenders.services_of(one, served.services), served) for one in made]

    yield make
    with psycopg.connect(served.services.postgres.address(), autocommit=True) as conn:
        for one in made:
            names = {"database": one.name, "role": one.namespace.site_role}
            for statement, what in (
                ("drop database if exists {} with (force)", names["database"]),
                ("drop role if exists {}", names["role"]),
            ):
                conn.execute(sql.SQL(statement).format(sql.Identifier(what)))


@pytest.fixture
def movies(served: Pipeline, folder: Path) -> Member:
    """The first recommender."""
    found = recommenders.read_descriptions(folder).valid["movie_rec_sys"]
    return Member(found, served.services, served)


def test_of_ten_three_in_trouble_leave_seven_as_they_are(
    movies: Member,
    make_members: Callable[[int], list[Member]],
    folder: Path,
    repository: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    killed, removed, fed, *shops = make_members(9)
    alone = movies.content()
    for each in (killed, removed, fed, *shops):
        run = each.weekly()
        assert run.ran("promote_release"), (each.description.name, run.reason, run.errors)
    assert killed.weekly().reason == "this build is the champion"
    assert removed.roll_back("there is none").state == "failed"
    assert movies.content() == alone
    assert len({shop.champion() for shop in shops} - {movies.champion()}) == 1
    seven = [movies, *shops]
    before = [each.content() for each in seven]
    served_by_killed = killed.champion()

    kill_in_promotion(killed)
    runs = runs_by_dag()
    remove_by_command(removed, folder)
    names = removed.description.namespace
    assert runs - runs_by_dag() == {names.weekly_dag: 1, names.rollback_dag: 1}
    outcome = fed.weekly(source=str(half_a_zip(tmp_path)))
    assert (outcome.state, outcome.ran("promote_release")) == ("failed", False)
    # The runs of every five minutes, while the journal of the one that was killed is open.
    for each in (movies, shops[0]):
        healed = each.recover()
        assert healed.state == "success", healed.errors
    assert [each.content() for each in seven] == before

    assert monitoring.read_status(killed.services)["open_journal"] is not None
    assert killed.recover().ran("recover_promotion")
    assert killed.champion() == served_by_killed
    for each in (killed, fed, *seven):
        assert monitoring.problems(each.services) == []
    assert movies.services.store.keys(names.key_prefix) == []
    assert [each.content() for each in seven] == before

    # Without its file, a recommender has no DAGs, and its release is served.
    gone = shops[-1]
    (folder / f"{gone.description.name}.yaml").unlink()
    dags, errors = parse(folder, repository)
    assert errors == {}
    left = {each.description.name for each in (movies, killed, fed, *shops)} - {
        gone.description.name
    }
    assert {dag_id for dag_id in dags if dag_id in left} == left
    for one in (gone.description, removed.description):
        assert set(one.namespace.dag_ids) & set(dags) == set()
    assert gone.content() == before[-1]
    assert monitoring.problems(gone.services) == []
    rows = sum(len(one) for each in before for name, one in each.items() if name != "objects")
    objects = sum(len(each["objects"]) for each in before)
    record_property(
        "figure", f"seven recommenders in Airflow: {rows} rows, {objects} objects equal"
    )


def kill_in_promotion(member: Member) -> None:
    """Kills the process of a run while its task promotes a release."""
    name = member.description.name
    with psycopg.connect(member.services.postgres.address()) as holder:
        # Every change of the champion now waits: the journal is open, the model copied.
        holder.execute("select from recsys.releases where state = 'champion' for no key update")
        # Another seed is another build, so there is a release to promote.
        conf = {**GIVEN, "seed": 7}
        with subprocess.Popen(
            [sys.executable, "-m", "recsys_dag.run_dag", name, "--conf", json.dumps(conf)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                wait_for_promotion(member, process)
            finally:
                process.kill()
    assert process.returncode == -signal.SIGKILL


def wait_for_promotion(member: Member, process: subprocess.Popen[bytes]) -> None:
    """Waits until a process holds the promotion lock and waits for the champion's row."""
    deadline = time.monotonic() + 240
    with member.services.connect() as conn:
        while not conn.execute(
            "select 1 from pg_locks l join pg_stat_activity a using (pid) "
            "where l.locktype = 'advisory' and l.granted and l.objid = %s and l.objsubid = 1 "
            "and a.datname = current_database() "
            "and exists (select from recsys.journal where closed_at is null)",
            (PROMOTION_LOCK,),
        ).fetchone():
            assert process.poll() is None, "the run ended before it promoted"
            assert time.monotonic() < deadline
            time.sleep(0.05)


def runs_by_dag() -> Counter[str]:
    """How many runs Airflow's database has of each DAG."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return Counter(session.scalars(select(DagRun.dag_id)))


def remove_by_command(member: Member, folder: Path) -> None:
    """Removes a recommender as a person does, with its export."""
    done = run_recsys(
        ("recommender", "remove", member.description.name, "--even-served", "--yes"),
        {
            **os.environ,
            **servers(member.pipeline.services),
            "RECSYS_RECOMMENDERS": str(folder),
            # As in a container of Airflow.
            "RECSYS_SERVICES": "recsys_dag.connections:services_of_command_line",
        },
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "removed the history of" in done.stdout
    assert (folder / f"{member.description.name}-export" / "export.json").exists()


def half_a_zip(folder: Path) -> Path:
    """A dataset that is broken although its md5 is right."""
    path = folder / "broken.zip"
    write_sample(path, ratings=500, seed=3)
    content = path.read_bytes()[:1000]
    path.write_bytes(content)
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    Path(f"{path}.md5").write_text(f"{digest}  {path.name}\n")
    return path
