"""The secrets in a source are hidden in the logs of tasks, also from lines of other libraries."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import log as airflow_log

from recsys.contract import Build
from recsys.dataset import source_secrets
from recsys.pipeline import Run
from recsys_dag.masking import hide_source_secrets
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


def test_a_user_without_a_password_is_a_token_and_secret() -> None:
    assert source_secrets("https://t%6Fken@a.example/x.zip") == ["t%6Fken", "token"]


def test_credentials_in_the_url_are_warned_of_and_not_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for source in (SOURCE, "https://t0ken-of-ann@a.example/x.zip"):
        caplog.clear()
        hide_source_secrets(source, "books_source")
        assert "Connection books_source" in caplog.text
        for secret in source_secrets(source):
            assert secret not in caplog.text
    caplog.clear()
    hide_source_secrets("https://a.example/x@y.zip s3://bucket/x.zip /mnt/x@y.zip", "books_source")
    assert caplog.text == ""


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
