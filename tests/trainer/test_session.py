"""A session runs the commands of trainer and verifier like processes of their own."""

from __future__ import annotations

import io
import json

from recsys import contract
from recsys.contract import SESSION_END, ExitCode, MeasuredMetrics, TrainerInput
from tests.trainer.conftest import Bench, Tables
from trainer.session import serve
from verifier.candidate import read_candidate

KEY = "7a" * 32


def request(bench: Bench, program: str, command: str, given: TrainerInput) -> str:
    environment = bench.environment(given)
    document = {"program": program, "arguments": [command], "environment": environment}
    return json.dumps(document) + "\n"


def test_a_session_trains_and_measures_as_processes_do(
    bench: Bench, trained: TrainerInput, small: Tables
) -> None:
    again = bench.input(md5="5" * 32)
    bench.put_features(*small, md5="5" * 32)
    sealed = trained.model_copy(update={"seal": KEY})
    requests = [
        request(bench, "trainer", "train", again),
        request(bench, "verifier", "verify", sealed),
        request(bench, "verifier", "no-command", sealed),
        request(bench, "trainer", "train", bench.input(overrides={"rating": {"no": 1}})),
    ]
    answers = io.StringIO()
    serve(io.StringIO("".join(requests)), answers)

    ends = [line for line in answers.getvalue().split("\n") if SESSION_END in line]
    codes = [int(line.partition(SESSION_END)[2]) for line in ends]
    assert codes == [ExitCode.OK, ExitCode.OK, ExitCode.BAD_CONFIG, ExitCode.BAD_CONFIG]
    stated = read_candidate(bench.store, trained).manifest
    made = bench.candidate(again)
    assert made is not None
    assert made.metrics == stated.metrics, "an earlier training changes nothing"
    inbox = sealed.inbox_key(contract.MEASURED_FILE)
    measured = MeasuredMetrics.from_json(contract.unseal(bench.store.get_bytes(inbox), KEY))
    assert measured.manifest_sha256 == read_candidate(bench.store, trained).manifest_sha256
    bench.store.delete([inbox])
