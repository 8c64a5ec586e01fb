"""Airflow's HTTP client starts whatever ``NO_PROXY`` names."""

from __future__ import annotations

import httpx
import pytest

from recsys.embedded import airflow


@pytest.mark.parametrize("spelling", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize(
    ("entries", "kept"),
    [
        ("", []),
        ("fd00::/8", []),
        ("[::1]", ["::1"]),
        ("[fd00::1]:8080, intranet", ["fd00::1", "intranet"]),
        ("[fd00::/8],10.0.0.0/8", ["10.0.0.0/8"]),
        ("[::1", ["::1"]),
        ("::1 .example.org,*.example.net", ["::1", ".example.org", "*.example.net"]),
        ("*", ["*"]),
    ],
)
def test_the_client_of_airflow_can_read_the_list(
    monkeypatch: pytest.MonkeyPatch, entries: str, kept: list[str], spelling: str
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(spelling, entries)
    variables = airflow.no_proxy()
    assert variables["NO_PROXY"].split(",")[2:] == kept
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    httpx.Client().close()
