"""The secrets in a source are hidden in the logs of tasks, also from lines of other libraries."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import log as airflow_log

from recsys.contract import Build
from recsys.dataset import source_secrets
from recsys.pipeline import Run
from recsys_dag.tasks import run_of

SIGNATURE = "5ab199f406fdfb46d2b58cd410331731"
SOURCE = (
    f"https://ann:s%C3%A9cret@a.example/x.zip?v=1&sig={SIGNATURE} md5=https://a.example/m?tok=abc "
    "s3://bucket/x.zip, /mnt/x.zip"
)


def test_passwords_queries_and_signatures_are_secrets() -> None:
    assert set(source_secrets(SOURCE)) == {
        "s%C3%A9cret",
        "s\N{LATIN SMALL LETTER E WITH ACUTE}cret",
        f"v=1&sig={SIGNATURE}",
        SIGNATURE,
        "tok=abc",
    }


class _TaskInstance:
    def __init__(self, run: Run) -> None:
        self._run = run

    def xcom_pull(self, **_: Any) -> Any:
        return self._run.model_dump(mode="json")


def test_a_task_masks_the_secrets_of_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[str] = []
    monkeypatch.setattr(airflow_log, "mask_secret", masked.append)
    build = Build(dataset_md5="0" * 32, trainer_digest="sha256:" + "0" * 64, settings={})
    run_of({"ti": _TaskInstance(Run(run_id="a", source=SOURCE, build=build))})
    assert masked == source_secrets(SOURCE)
