"""Trainers whose interpreter is a shell script, and what tests of processes ask."""

from __future__ import annotations

import time
from collections.abc import Callable

from recsys.contract import Build, TrainerInput
from recsys.trainer_process import LocalTrainer

GIVEN = TrainerInput(
    build=Build(dataset_md5="0" * 32, trainer_digest=f"sha256:{'a' * 64}", settings={"n": 1}),
    run_nonce="n" * 8,
    s3_bucket="bucket",
    s3_endpoint="http://127.0.0.1:9",
)
SECRETS = {"AWS_ACCESS_KEY_ID": "key-id", "AWS_SECRET_ACCESS_KEY": "hush-hush"}

StandIn = Callable[[str], LocalTrainer]


def run(trainer: LocalTrainer, subcommand: str = "train") -> list[str]:
    """Runs the trainer with the secrets; returns the lines that it printed."""
    lines: list[str] = []
    trainer.run(subcommand, GIVEN, SECRETS, lines.append)
    return lines


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)
