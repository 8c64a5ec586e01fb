"""Time limits: which follow from which, and which sets are refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

from recsys.errors import ConfigurationError
from recsys_dag.timeouts import DEFAULT, SPARK, TimeoutSettings, all_tries, timeouts
from recsys_dag.trainer.settings import PodSettings
from tests.descriptions import MOVIES

HOUR = timedelta(hours=1)
AROUND = timedelta(seconds=660)
"""Default times for the start and the end of a pod."""
KUBERNETES = {"RECSYS_TRAINER_LAUNCHER": "kubernetes"}
POD = "RECSYS_TRAINER_POD_DEADLINE_S"
TASK = "RECSYS_TRAINING_TIMEOUT_HOURS"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, prefix in ((TimeoutSettings, "RECSYS_"), (PodSettings, "RECSYS_TRAINER_POD_")):
        for name in kind.model_fields:
            monkeypatch.delenv(f"{prefix}{name.upper()}", raising=False)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "task", "pod"),
    [
        ({}, 8 * HOUR, None),
        ({TASK: "30"}, 30 * HOUR, None),
        ({TASK: ""}, 8 * HOUR, None),
        (KUBERNETES, 8 * HOUR, 8 * HOUR - AROUND),
        ({**KUBERNETES, TASK: "30"}, 30 * HOUR, 30 * HOUR - AROUND),
        ({**KUBERNETES, POD: "72000"}, 20 * HOUR + AROUND, 20 * HOUR),
        ({**KUBERNETES, POD: "3600"}, 8 * HOUR, HOUR),
        # Both documented defaults, as somebody may have written them down.
        ({**KUBERNETES, POD: "28800", TASK: "8"}, 8 * HOUR, 8 * HOUR),
    ],
)
def test_the_limits_of_a_training_and_its_pod_follow_from_each_other(
    variables: dict[str, str],
    task: timedelta,
    pod: timedelta | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_all(monkeypatch, variables)
    made = timeouts(MOVIES)
    assert (made.training, made.training_pod) == (task, pod)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {TASK: "100"},
        {"RECSYS_APPROVAL_TIMEOUT_HOURS": "240"},
        {**KUBERNETES, POD: "360000"},
        {**KUBERNETES, "RECSYS_TRAINER_POD_STARTUP_TIMEOUT_S": "7200"},
        {"RECSYS_FEATURES_ENGINE": "spark"},
    ],
)
def test_a_run_may_take_as_long_as_all_that_it_waits_for(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, variables)
    made = timeouts(MOVIES)
    spark = SPARK if "RECSYS_FEATURES_ENGINE" in variables else timedelta()
    assert made.run >= made.training + made.verification + spark + made.approval + 6 * HOUR
    if made.training_pod is not None:
        startup = timedelta(seconds=PodSettings().startup_timeout_s)
        assert made.verification > startup
        assert made.verification - startup >= DEFAULT
        assert made.training_pod <= made.training


@pytest.mark.parametrize(
    ("variables", "found", "hint"),
    [
        ({**KUBERNETES, POD: "43200", TASK: "8"}, "43200", f"raise {TASK}"),
        ({**KUBERNETES, TASK: "0.1"}, "RECSYS_TRAINING_TIMEOUT_HOURS=0.1", "lower the others"),
        (
            {**KUBERNETES, "RECSYS_TRAINER_POD_STARTUP_TIMEOUT_S": "36000"},
            "TIMEOUT_HOURS=8",
            "lower the others",
        ),
        ({"RECSYS_DEADLINE_HOURS": "100"}, "RECSYS_DEADLINE_HOURS=100", "lower"),
        (
            {
                "RECSYS_FEATURES_ENGINE": "spark-kubernetes",
                "RECSYS_SPARK_POD_IMAGE": f"spark@sha256:{'a' * 64}",
                "RECSYS_SPARK_POD_STARTUP_TIMEOUT_S": "14400",
            },
            "14400",
            "lower",
        ),
        ({TASK: "eight"}, "number", "settings.md"),
        ({TASK: "0"}, "greater than 0", "settings.md"),
        ({TASK: "inf"}, "finite", "settings.md"),
        ({"RECSYS_APPROVAL_TIMEOUT_HOURS": "-1"}, "greater than 0", "settings.md"),
    ],
)
def test_an_inconsistent_set_is_refused_with_what_to_do(
    variables: dict[str, str], found: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, variables)
    with pytest.raises(ConfigurationError) as caught:
        timeouts(MOVIES)
    assert found in str(caught.value.found)
    assert hint in str(caught.value)


def test_all_tries_of_a_rollback_fit_into_its_run() -> None:
    assert all_tries(DEFAULT) >= 4 * DEFAULT + timedelta(minutes=3)
