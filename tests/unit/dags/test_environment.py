"""Variables of Airflow's processes: what they mean unset, and what nonsense says of itself."""

from __future__ import annotations

import pytest

from recsys.contract import BuildSettings
from recsys.errors import ConfigurationError
from recsys_dag import settings
from recsys_dag.environment import read_json
from tests.descriptions import MOVIES

VARIABLE = "RECSYS_BUILD_SETTINGS"


@pytest.mark.parametrize("text", [None, "", "{}"])
def test_nothing_said_means_the_defaults(text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(VARIABLE, text)
    assert read_json(BuildSettings, VARIABLE, expected="an object") == BuildSettings()


def test_a_document_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, '{"trainer": {"seed": 21}}')
    assert settings.build_settings(MOVIES, {}).trainer.seed == 21


def test_the_seed_of_a_run_makes_another_release_of_the_same_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(
        VARIABLE, '{"trainer": {"seed": 21}, "features": {"max_quarantine_share": 0.2}}'
    )
    usual, other = (
        settings.build_settings(MOVIES, {"seed": None}),
        settings.build_settings(MOVIES, {"seed": 0}),
    )
    assert (usual.trainer.seed, other.trainer.seed) == (21, 0)
    assert usual.features == other.features
    assert usual.trainer.overrides == other.trainer.overrides


@pytest.mark.parametrize(
    ("text", "place"),
    [("{", "document"), ("[]", "document"), ('{"trainer": {"seed": "hunter2"}}', "trainer.seed")],
)
def test_a_document_that_makes_no_sense_is_named_and_not_repeated(
    text: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ConfigurationError, match=f"{VARIABLE} is invalid") as caught:
        settings.build_settings(MOVIES, {})
    assert f"found: {place}: " in str(caught.value)
    assert "a JSON object of build settings" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_setting_of_alerts_that_makes_no_sense_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_ALERT_KINDS", "rejected,nonsense")
    with pytest.raises(ConfigurationError, match=r"RECSYS_ALERT_KINDS.* is invalid") as caught:
        settings.alerts_of(MOVIES)
    assert "docs/runbook.md" in str(caught.value)
