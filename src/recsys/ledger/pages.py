"""The list of releases in pages: what a page shows is selected in SQL, and nothing else is read.

A manifest is tens of kilobytes and a decision a few: for hundreds of releases, reading and parsing
all of them takes longer than everything else on a page.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg.rows import class_row

from recsys.database import Connection
from recsys.ledger.releases import MEASURED
from recsys.ledger.states import State

_COLUMNS: Final[LiteralString] = MEASURED.join(
    (
        """
select r.release_id, r.state, r.dataset_md5,
    coalesce(r.build ->> 'trainer_digest', 'unknown') as trainer_digest,
    r.created_at, r.promoted_at, m.metrics is not null as is_measured,
    coalesce(m.metrics -> 'model', r.manifest #> '{metrics,model}') as metrics,
    coalesce(m.metrics -> 'baselines', r.manifest #> '{metrics,baselines}') as baselines,
    concat_ws(' ', coalesce(r.features_prefix, r.dataset_md5),
        coalesce(m.metrics #>> '{holdout,rows}', r.manifest #>> '{metrics,holdout,rows}'),
        coalesce(m.metrics #>> '{holdout,users}', r.manifest #>> '{metrics,holdout,users}'))
        as holdout,
    d.decision
from recsys.releases r
left join lateral (""",
        """) m on true
left join lateral (
    select decision from recsys.decisions
    where release_id = r.release_id and %(with_decisions)s order by id desc limit 1
) d on true
""",
    )
)
_COUNT: Final[LiteralString] = "select count(*) from recsys.releases r"
_MATCHES: Final[LiteralString] = """
where (%(state)s::text is null or r.state = %(state)s)
    and strpos(concat_ws(' ', r.release_id, r.dataset_md5, r.run_id), %(text)s) > 0
"""
_NEWEST: Final[LiteralString] = " order by r.created_at desc, r.release_id "


@dataclass(frozen=True)
class ListedRelease:
    """What a list shows of a release.

    Attributes:
        release_id: the release.
        state: its lifecycle state.
        dataset_md5: the dataset of its build.
        trainer_digest: the trainer image of its build.
        created_at: when its build began.
        promoted_at: when it last became champion; None: never.
        is_measured: whether the verifier measured ``metrics``; else the trainer stated them.
        metrics: the model's metrics as stored; None before the release is complete.
        baselines: those of the baselines.
        holdout: identifies what they were measured on: features, and size of the holdout.
        decision: the gate's newest decision as stored; None: not judged, or not asked for.
    """

    release_id: str
    state: State
    dataset_md5: str
    trainer_digest: str
    created_at: datetime
    promoted_at: datetime | None
    is_measured: bool
    metrics: Any
    baselines: Any
    holdout: str
    decision: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", State(self.state))


def list_releases(
    conn: Connection, *, state: State | None = None, text: str = "", limit: int, offset: int = 0
) -> list[ListedRelease]:
    """Returns a page of the releases with their newest decisions, newest first.

    Args:
        conn: the ledger.
        state: only releases in this state.
        text: only releases whose id, dataset md5 or run id contains it.
        limit: maximum number of releases.
        offset: number of newer releases to skip.
    """
    return _select(
        conn,
        _MATCHES + _NEWEST + "limit %(limit)s offset %(offset)s",
        state=state,
        text=text,
        limit=limit,
        offset=offset,
    )


def count_releases(conn: Connection, *, state: State | None = None, text: str = "") -> int:
    """Returns the number of releases that `list_releases` would list without a limit."""
    rows = conn.execute(_COUNT + _MATCHES, {"state": state and state.value, "text": text})
    return sum(count for (count,) in rows)


def newest_measured(conn: Connection, limit: int) -> list[ListedRelease]:
    """Returns the newest releases that have metrics, newest first, without decisions."""
    where: LiteralString = "where r.manifest is not null" + _NEWEST + "limit %(limit)s"
    return _select(conn, where, with_decisions=False, limit=limit)


def listed_release(conn: Connection, release_id: str) -> ListedRelease | None:
    """Returns one release as the list shows it; None if it is not in the ledger."""
    found = _select(conn, "where r.release_id = %(release_id)s", release_id=release_id)
    return found[0] if found else None


def rollback_targets(conn: Connection, limit: int) -> list[ListedRelease]:
    """Returns earlier champions that can be served again, the one promoted last first."""
    where: LiteralString = (
        "where r.state = any(%(states)s) order by r.promoted_at desc limit %(limit)s"
    )
    states = [State.SUPERSEDED.value, State.ROLLED_BACK.value]
    return _select(conn, where, with_decisions=False, states=states, limit=limit)


def _select(
    conn: Connection, rest: LiteralString, *, with_decisions: bool = True, **values: Any
) -> list[ListedRelease]:
    if isinstance(values.get("state"), State):
        values["state"] = values["state"].value
    with conn.cursor(row_factory=class_row(ListedRelease)) as cur:
        cur.execute(_COLUMNS + rest, {"with_decisions": with_decisions, **values})
        return cur.fetchall()
