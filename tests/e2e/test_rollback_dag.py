"""The DAG that rolls back, when the answer of its task is lost and Airflow tries it again."""

from __future__ import annotations

from typing import Any

import pytest

from recsys import ledger
from recsys.releases import promote_release
from tests.actors import an_actor
from tests.release_maker import Releases


def test_a_rollback_whose_answer_was_lost_goes_back_one_step(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys_dag import tasks
    from recsys_dag.recommenders import DAGS

    dag = DAGS["movie_rec_sys_rollback"]

    releases = Releases(pipeline.services)
    made = []
    for number in (1, 2, 3):
        made.append(releases.candidate(number))
        releases.judge(made[-1])
        promote_release(pipeline.services, made[-1], actor=an_actor())
    answers = []

    def lose_the_first_answer(measurements: Any, *tags: Any) -> None:
        answers.append(measurements)
        if len(answers) == 1:
            raise ConnectionError("the worker lost the API server")

    monkeypatch.setattr(tasks.metrics, "emit", lose_the_first_answer)
    outcome = pipeline.run_dag(dag, {"release": None, "reason": "complaints"})
    assert (outcome.state, outcome.tries["roll_back"]) == ("success", 2), outcome.errors
    with pipeline.services.connect() as conn:
        champion = ledger.champion(conn)
    assert champion is not None
    assert champion.release_id == made[1]
