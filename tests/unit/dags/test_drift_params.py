"""Drift settings of a run: limits from the environment, acceptance from its Params."""

from __future__ import annotations

import pytest

from recsys.errors import ConfigurationError
from recsys.features import DriftSettings
from recsys_dag.settings import drift_settings
from tests.descriptions import MOVIES


@pytest.mark.parametrize("accept", [True, False])
def test_a_run_may_accept_drift(accept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECSYS_DRIFT_SETTINGS", raising=False)
    assert drift_settings(MOVIES, {"accept_drift": accept}) == DriftSettings(accept=accept)


def test_one_limit_can_be_set_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_DRIFT_SETTINGS", '{"hard": {"max_row_loss": 0.2}, "accept": true}')
    found = drift_settings(MOVIES, {"accept_drift": False})
    assert found.hard.max_row_loss == 0.2
    assert found.hard.max_psi == DriftSettings().hard.max_psi
    assert found.accept


@pytest.mark.parametrize("text", ["{", "[]", '{"hard": {"max_row_los": 1}}', '{"accept": "no!"}'])
def test_settings_that_make_no_sense_are_permanent(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_DRIFT_SETTINGS", text)
    with pytest.raises(ConfigurationError, match="RECSYS_DRIFT_SETTINGS is invalid"):
        drift_settings(MOVIES, {"accept_drift": False})
