"""Names that are accepted for an override."""

from __future__ import annotations

import pytest

from recsys.errors import LedgerError
from recsys.releases import check_person


@pytest.mark.parametrize(
    "actor",
    ["Ada Lovelace", "ada (recsys)", "ada by manual__2026-11-22", "李雷", "ada@example.org", "Bo"],
)
def test_accepts_the_name_of_a_person(actor: str) -> None:
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
def test_rejects_a_shared_account(actor: str) -> None:
    with pytest.raises(LedgerError, match="only a named person"):
        check_person(actor)
