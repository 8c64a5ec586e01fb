"""Releases as the ledger stores them. It is the single source of truth for what is live."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg.rows import class_row
from pydantic import ValidationError

from recsys import contract
from recsys.contract import (
    NARROW,
    STARS,
    WIDE,
    IdBits,
    Manifest,
    Metrics,
    RatingScale,
    Scores,
)
from recsys.database import Connection
from recsys.errors import ArtifactError, LedgerError, first_invalid_field
from recsys.ledger.states import State


@dataclass(frozen=True)
class Release:
    """A release as stored in the ledger."""

    release_id: str
    dataset_md5: str
    fingerprint: str
    build: dict[str, Any]
    state: State
    run_id: str
    run_nonce: str
    manifest: dict[str, Any] | None
    manifest_sha256: str | None
    tables: dict[str, Any]
    created_at: datetime
    changed_at: datetime
    completed_at: datetime | None
    promoted_at: datetime | None
    features_prefix: str = ""
    """Prefix of its features; that of its dataset if earlier code made it."""
    erasures_covered: int = 0
    """It knows no erased user up to this number of `recsys.ledger.Erasure`."""
    measured: Any = None
    """What the verifier measured, see `recsys.gate.Decision`; None if nothing was measured."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", State(self.state))
        prefix = self.features_prefix or contract.dataset_features_prefix(self.dataset_md5)
        object.__setattr__(self, "features_prefix", prefix)

    @property
    def complete_manifest(self) -> Manifest:
        """The manifest.

        Raises:
            LedgerError: the release is not complete.
            ArtifactError: the manifest in the ledger is damaged.
        """
        if self.manifest is None:
            raise LedgerError(
                f"release {self.release_id} is not complete",
                found=f"state {self.state}, no manifest",
                hint="let its run finish, or run the pipeline again",
            )
        with self._damage():
            return Manifest.model_validate(self.manifest)

    @property
    def metrics(self) -> Metrics | None:
        """The metrics; None if the release is not complete.

        Raises:
            ArtifactError: the manifest in the ledger is damaged.
        """
        if self.manifest is None:
            return None
        with self._damage():
            return Metrics.model_validate(_field(self.manifest, "metrics"))

    @property
    def is_measured(self) -> bool:
        """Whether the verifier measured `scores`; else the trainer stated them."""
        return isinstance(_field(self.measured, "model"), dict)

    @property
    def scores(self) -> Scores:
        """Metrics of the model, the measured ones if it was measured.

        Empty if the release is not complete or its manifest is damaged.
        """
        metrics = self.measured if self.is_measured else _field(self.manifest, "metrics")
        try:
            return Scores.model_validate(_field(metrics, "model"))
        except ValidationError:
            return Scores()

    @property
    def trainer_digest(self) -> str:
        """Digest of the trainer; "unknown" if the build in the ledger is damaged."""
        return str(_field(self.build, "trainer_digest") or "unknown")

    @property
    def scale(self) -> RatingScale:
        """The scale of its dataset's ratings; stars if the build in the ledger is damaged."""
        given = _field(_field(self.build, "settings"), "features")
        try:
            return RatingScale.model_validate(_field(given, "scale") or {})
        except ValidationError:
            return STARS

    @property
    def id_bits(self) -> IdBits:
        """Width of its dataset's ids; 32 bits if the build in the ledger is damaged."""
        given = _field(_field(self.build, "settings"), "features")
        return WIDE if _field(given, "id_bits") == WIDE else NARROW

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (ValidationError, ArtifactError) as error:
            field = first_invalid_field(error) if isinstance(error, ValidationError) else error
            raise ArtifactError(
                f"the manifest of release {self.release_id} in the ledger is damaged",
                found=str(field),
                hint="restore the row from a backup, or roll back to another release",
            ) from error


def _field(document: object, name: str) -> Any:
    """Returns a field of a JSON document that somebody may have changed; None if it has none."""
    return document.get(name) if isinstance(document, dict) else None


def find(conn: Connection, release_id: str) -> Release | None:
    """Returns a release; None if it is not in the ledger."""
    contract.check_release_id(release_id)
    return _one(conn, "where release_id = %s", release_id)


def find_and_lock(conn: Connection, release_id: str) -> Release | None:
    """Returns a release, whose row is locked until the transaction ends; None if not there."""
    return _one(conn, "where release_id = %s for update", release_id)


def get(conn: Connection, release_id: str) -> Release:
    """Returns a release.

    Raises:
        LedgerError: it is not in the ledger, or the text is not a release id.
    """
    try:
        release = find(conn, release_id)
    except ValueError as error:
        raise LedgerError(str(error), hint="`recsys releases` lists the releases") from error
    if release is None:
        raise LedgerError(
            "this release is not in the ledger",
            found=release_id,
            hint="`recsys releases` lists the releases",
        )
    return release


def champion(conn: Connection) -> Release | None:
    """Returns the release being served; None before the first promotion."""
    return _one(conn, "where state = %s", State.CHAMPION.value)


def get_or_champion(conn: Connection, release_id: str | None) -> Release:
    """Returns a release; without an id, the one being served.

    Raises:
        LedgerError: it is not in the ledger, the text is not a release id, or there is no champion.
    """
    release = get(conn, release_id) if release_id else champion(conn)
    if release is None:
        raise LedgerError("nothing was promoted yet", hint="run `recsys run`")
    return release


def previous_champion(conn: Connection) -> Release | None:
    """Returns the retained release that was promoted last before the champion; None if none."""
    return _one(
        conn,
        "where state = any(%s) order by promoted_at desc limit 1",
        [State.SUPERSEDED.value, State.ROLLED_BACK.value],
    )


def rollback_target(conn: Connection) -> Release | None:
    """Returns the default target of a rollback: the newest superseded champion; None if none.

    A release that was rolled back is not a default target, so that a second rollback does not
    return to the release that the first one left.
    """
    return _one(conn, "where state = %s order by promoted_at desc limit 1", State.SUPERSEDED.value)


def all_releases(conn: Connection) -> list[Release]:
    """Returns all releases, newest first."""
    with conn.cursor(row_factory=class_row(Release)) as cur:
        return cur.execute(f"{_SELECT} order by created_at desc, release_id").fetchall()


def release_ids(conn: Connection) -> frozenset[str]:
    """Returns the ids of all releases."""
    return frozenset(row[0] for row in conn.execute("select release_id from recsys.releases"))


def retained_releases(conn: Connection) -> list[Release]:
    """Returns all releases that are not retired, newest first."""
    with conn.cursor(row_factory=class_row(Release)) as cur:
        return cur.execute(
            f"{_SELECT} where state <> %s order by created_at desc, release_id",
            (State.RETIRED.value,),
        ).fetchall()


def releases_in(conn: Connection, state: State) -> list[Release]:
    """Returns all releases in a state, oldest first."""
    with conn.cursor(row_factory=class_row(Release)) as cur:
        return cur.execute(
            f"{_SELECT} where state = %s order by created_at, release_id desc", (state.value,)
        ).fetchall()


def state_counts(conn: Connection) -> dict[State, int]:
    """Returns the number of releases in each state, zeros included."""
    counts = dict.fromkeys(State, 0)
    for state, count in conn.execute("select state, count(*) from recsys.releases group by state"):
        counts[State(state)] = count
    return counts


MEASURED: Final[LiteralString] = (
    "select decision -> 'measured' as metrics from recsys.decisions "
    "where release_id = r.release_id and at >= r.completed_at "
    "and jsonb_typeof(decision -> 'measured') = 'object' order by id desc limit 1"
)
"""Selects what the verifier measured of the release ``r`` since it was last completed."""

_SELECT: Final[LiteralString] = MEASURED.join(
    (
        "select release_id, dataset_md5, fingerprint, build, state, run_id, run_nonce, manifest, "
        "manifest_sha256, tables, created_at, changed_at, completed_at, promoted_at, "
        "features_prefix, erasures_covered, (",
        ") as measured from recsys.releases r",
    )
)


def _one(conn: Connection, where: str, *parameters: Any) -> Release | None:
    with conn.cursor(row_factory=class_row(Release)) as cur:
        return cur.execute(f"{_SELECT} {where}", parameters).fetchone()
