"""Whose name may stand for an override."""

from __future__ import annotations

import pytest

from recsys.errors import LedgerError
from recsys.releases import check_person


@pytest.mark.parametrize(
    "actor",
    ["Ada Lovelace", "ada (recsys)", "ada by manual__2026-11-22", "李雷", "ada@example.org", "Bo"],
)
def test_a_persons_name_may_stand_for_an_override(actor: str) -> None:
    check_person(actor)


@pytest.mark.parametrize(
    "actor",
    [
        "",
        "  ",
        "root (recsys)",
        "Root",
        "admin by manual__2026-11-22",
        "admin@example.org",
        "airflow scheduled__2026-11-22",
        "airflow",
        "system",
        "test",
        "ubuntu (recsys)",
        "unknown",
        "x",
        "42",
        "--",
        "bot-7",
    ],
)
def test_an_account_that_many_share_may_not(actor: str) -> None:
    with pytest.raises(LedgerError, match="only a named person"):
        check_person(actor)
