"""The promotions and rollbacks that made the champions, with what their decisions recorded."""

from __future__ import annotations

from typing import Any

from recsys.database import Connection
from recsys.gate import Memory, PastPromotion


def past_promotions(conn: Connection, limit: int) -> list[PastPromotion]:
    """Returns the newest changes of the champion, newest first.

    A rollback and an override are a person's acts: what was lost before them is forgotten.
    """
    rows = conn.execute(
        "select j.kind, j.from_release, j.to_release, j.actor, d.decision "
        "from recsys.journal j left join lateral ("
        "  select decision from recsys.decisions where release_id = j.to_release "
        "  and at <= j.closed_at order by id desc limit 1) d on true "
        "where j.outcome = 'committed' order by j.id desc limit %s",
        (limit,),
    ).fetchall()
    return [
        PastPromotion(
            release_id=to,
            replaced=replaced,
            memory=_memory(decision),
            starts_anew=_by_a_person(kind, actor, decision),
        )
        for kind, replaced, to, actor, decision in rows
    ]


def _memory(decision: dict[str, Any] | None) -> Memory | None:
    found = (decision or {}).get("memory")
    return Memory.model_validate(found) if found else None


def _by_a_person(kind: str, actor: str, decision: dict[str, Any] | None) -> str:
    if kind == "rollback":
        return f"rolled back by {actor}"
    override = (decision or {}).get("override")
    return f"override by {override['actor']}" if override else ""
