"""Retention of the DAGs: from one environment variable, with the defaults of the domain."""

from __future__ import annotations

import pytest

from recsys.errors import ConfigurationError
from recsys.releases import RetentionSettings
from recsys_dag.settings import retention_settings
from tests.descriptions import MOVIES


def test_the_defaults_are_those_of_the_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECSYS_RETENTION_SETTINGS", raising=False)
    assert retention_settings(MOVIES) == RetentionSettings()


def test_one_number_can_be_set_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_RETENTION_SETTINGS", '{"keep_releases": 20}')
    assert retention_settings(MOVIES) == RetentionSettings(keep_releases=20)


@pytest.mark.parametrize("text", ["{", "[]", '{"keep": 1}', '{"keep_releases": -1}'])
def test_invalid_settings_are_refused_by_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_RETENTION_SETTINGS", text)
    with pytest.raises(ConfigurationError, match="RECSYS_RETENTION_SETTINGS is invalid"):
        retention_settings(MOVIES)
