"""Who changes the ledger, from where, and why."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

from recsys.errors import LedgerError


@dataclass(frozen=True)
class Actor:
    """Who changes something, from where, and why; stored with every change.

    Attributes:
        name: a person's name or account, or the program that acts without a person.
        origin: where the change was requested, such as ``command line`` or ``run manual__1``.
        reason: why.

    Raises:
        LedgerError: a field is empty.
    """

    name: str
    origin: str
    reason: str

    def __post_init__(self) -> None:
        empty = [field.name for field in fields(self) if not getattr(self, field.name).strip()]
        if empty:
            raise LedgerError(
                "a change of state needs an actor and a reason",
                found=f"no {' and no '.join(empty)}",
                expected="a name, an origin and a reason",
                hint="repeat the command with a reason, and your name in RECSYS_ACTOR",
            )

    @classmethod
    def from_command_line(cls, name: str, reason: str) -> Self:
        """Returns the user of the command ``recsys``."""
        return cls(name, "command line", reason)

    @classmethod
    def from_run(cls, run_id: str, reason: str, name: str | None = None) -> Self:
        """Returns the actor of a DAG run: ``name``, or Airflow if no person is known."""
        return cls(name or "airflow", origin_of_run(run_id), reason)

    @classmethod
    def from_releases_page(cls, name: str, reason: str) -> Self:
        """Returns a user of the releases page in Airflow's UI."""
        return cls(name, "releases page", reason)

    def because(self, reason: str) -> Self:
        """Returns the same actor with another reason."""
        return replace(self, reason=reason)


def origin_of_run(run_id: str) -> str:
    """Returns the origin of what a DAG run changes."""
    return f"run {run_id}"
