"""Whose run a task or a callback belongs to: never another recommender's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recsys.errors import ConfigurationError
from recsys_dag import descriptions


@pytest.fixture(autouse=True)
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("books", "movie_rec_sys"):
        text = f"name: {name}\ntitle: T\nsource: /data/r.zip\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    monkeypatch.setenv("RECSYS_RECOMMENDERS", str(tmp_path))


def of_task(dag_id: str, *tags: str) -> Any:
    return {"dag": SimpleNamespace(dag_id=dag_id, tags=set(tags))}


@pytest.mark.parametrize("dag_id", ["books", "books_rollback", "books_recover", "books_erase"])
def test_a_dag_of_the_project_belongs_to_the_recommender_of_its_name(dag_id: str) -> None:
    assert descriptions.of(of_task(dag_id, "recsys", "movies")).name == "books"


def test_a_dag_of_somebody_else_names_its_recommender_by_a_tag() -> None:
    assert descriptions.of(of_task("newsletter", "mail", "recommender:books")).name == "books"


@pytest.mark.parametrize(
    "tags",
    [
        (),
        ("books",),
        ("recommender:gone",),
        ("recommender:",),
        ("recommender:books", "recommender:movie_rec_sys"),
    ],
)
def test_a_dag_without_a_described_recommender_is_refused(tags: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError):
        descriptions.of(of_task("newsletter", *tags))


def test_the_callback_of_a_recommender_that_is_gone_acts_for_no_other() -> None:
    deadline = {"dag_run": {"dag_id": "gone", "dag_run_id": "manual__1"}}
    with pytest.raises(ConfigurationError, match="belongs to no recommender"):
        descriptions.of(deadline)
