"""Releases and their lifecycle states.

The ledger is the single source of truth for what is live. Every function runs in the caller's
transaction, so that a change of state and its record are committed together. The database rejects
moves that `MOVES` does not list and changes without actor and reason (migrations/0001_ledger.sql).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from recsys import contract
from recsys.contract import Build, Manifest, Metrics, Scores
from recsys.database import Connection
from recsys.errors import ArtifactError, LedgerError, LockedError, first_invalid_field
from recsys.ledger import migrations
from recsys.ledger.actor import Actor
from recsys.ledger.datasets import hold_dataset
from recsys.ledger.states import MOVES, State


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
    def scores(self) -> Scores:
        """Metrics of the model; empty if the release is not complete or its manifest is damaged."""
        try:
            return Scores.model_validate(_field(_field(self.manifest, "metrics"), "model"))
        except ValidationError:
            return Scores()

    @property
    def trainer_digest(self) -> str:
        """Digest of the trainer; "unknown" if the build in the ledger is damaged."""
        return str(_field(self.build, "trainer_digest") or "unknown")

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


def prepare(conn: Connection) -> None:
    """Creates or upgrades the ledger's schema and its table of moves. Idempotent."""
    migrations.apply(conn)
    rows = [(str(a), str(b)) for a, targets in MOVES.items() for b in targets]
    with conn.transaction():
        present = set(conn.execute("select from_state, to_state from recsys.release_moves"))
        if present != set(rows):
            # Several processes may prepare a new database at once.
            conn.execute("lock table recsys.release_moves in share row exclusive mode")
            conn.execute("delete from recsys.release_moves")
            conn.cursor().executemany("insert into recsys.release_moves values (%s, %s)", rows)


@contextmanager
def acting(conn: Connection, actor: Actor) -> Iterator[None]:
    """Opens a transaction; the changes of state in it are recorded as made by ``actor``."""
    with conn.transaction():
        conn.execute(
            "select set_config('recsys.actor', %s, true), set_config('recsys.origin', %s, true), "
            "set_config('recsys.reason', %s, true)",
            (actor.name, actor.origin, actor.reason),
        )
        yield


def find(conn: Connection, release_id: str) -> Release | None:
    """Returns a release; None if it is not in the ledger."""
    contract.check_release_id(release_id)
    return _one(conn, "where release_id = %s", release_id)


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


def begin_build(
    conn: Connection, build: Build, *, run_id: str, run_nonce: str, actor: Actor
) -> Release:
    """Registers the release of a build, or resumes it; a complete release is not changed.

    Raises:
        LedgerError: another build has the same release id.
        LockedError: the release is being retired, or the files of its dataset are being deleted.
    """
    with acting(conn, actor):
        hold_dataset(conn, build.dataset_md5)
        existing = _one(conn, "where release_id = %s for update", build.release_id)
        if existing is None:
            conn.execute(
                "insert into recsys.releases "
                "(release_id, dataset_md5, fingerprint, build, state, run_id, run_nonce, "
                "features_prefix) values (%s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    build.release_id,
                    build.dataset_md5,
                    build.fingerprint,
                    Jsonb(build.model_dump(mode="json")),
                    State.BUILDING.value,
                    run_id,
                    run_nonce,
                    build.features_prefix,
                ),
            )
        elif existing.fingerprint != build.fingerprint:
            raise LedgerError(
                f"two builds have the release id {build.release_id}",
                found=build.fingerprint,
                expected=existing.fingerprint,
                hint="change the trainer's seed: a different build setting gives a different id",
            )
        elif existing.state == State.RETIRING:
            raise LockedError(
                f"release {build.release_id} is being retired",
                hint="retry when retirement has ended",
            )
        elif existing.state == State.RETIRED:
            conn.execute(
                "update recsys.releases set state = %s, run_id = %s, run_nonce = %s, "
                "manifest = null, manifest_sha256 = null, completed_at = null, tables = '{}', "
                "features_prefix = %s where release_id = %s",
                (
                    State.BUILDING.value,
                    run_id,
                    run_nonce,
                    build.features_prefix,
                    build.release_id,
                ),
            )
        elif State.BUILDING in MOVES[existing.state] or existing.state == State.BUILDING:
            conn.execute(
                "update recsys.releases set state = %s, run_id = %s, features_prefix = %s, "
                "changed_at = clock_timestamp() where release_id = %s",
                (State.BUILDING.value, run_id, build.features_prefix, build.release_id),
            )
        return get(conn, build.release_id)


def set_nonce(conn: Connection, release_id: str, run_nonce: str) -> None:
    """Sets which run's trainer may write the manifest of a release in state building."""
    conn.execute(
        "update recsys.releases set run_nonce = %s where release_id = %s and state = %s",
        (run_nonce, release_id, State.BUILDING.value),
    )


def record_features(conn: Connection, release_id: str, prefix: str) -> None:
    """Stores where the features of a release are, once they are complete."""
    conn.execute(
        "update recsys.releases set features_prefix = %s "
        "where release_id = %s and features_prefix is distinct from %s",
        (prefix, release_id, prefix),
    )


def record_table(conn: Connection, release_id: str, table: str, facts: dict[str, Any]) -> None:
    """Stores facts about one of the release's loaded tables, such as rows and digest."""
    conn.execute(
        "update recsys.releases set tables = tables || %s where release_id = %s",
        (Jsonb({table: facts}), release_id),
    )


def complete(
    conn: Connection, manifest: Manifest, manifest_sha256: str, *, actor: Actor
) -> Release:
    """Makes a verified release a candidate; a complete release is not changed.

    Raises:
        LedgerError: the release is complete with another manifest.
    """
    with acting(conn, actor):
        release = get(conn, manifest.release_id)
        if release.state == State.BUILDING:
            conn.execute(
                "update recsys.releases set state = %s, manifest = %s, manifest_sha256 = %s, "
                "completed_at = clock_timestamp() where release_id = %s",
                (
                    State.CANDIDATE.value,
                    Jsonb(json.loads(manifest.to_json())),
                    manifest_sha256,
                    manifest.release_id,
                ),
            )
        elif release.manifest_sha256 != manifest_sha256:
            raise LedgerError(
                f"the manifest of release {manifest.release_id} is not the one that was verified",
                found=f"sha256 {manifest_sha256}",
                expected=f"sha256 {release.manifest_sha256}",
                hint="the manifest of a complete release never changes; restore the object",
            )
        return get(conn, manifest.release_id)


def move(conn: Connection, release_id: str, to: State, *, actor: Actor) -> None:
    """Moves a release to another state.

    Raises:
        LedgerError: the move is not in `MOVES`.
    """
    with acting(conn, actor):
        release = get(conn, release_id)
        if to not in MOVES[release.state]:
            allowed = ", ".join(sorted(MOVES[release.state])) or "nothing"
            raise LedgerError(
                f"release {release_id} may not become {to}",
                found=f"state {release.state}",
                expected=f"one of {allowed}",
            )
        conn.execute(
            "update recsys.releases set state = %s where release_id = %s and state = %s",
            (to.value, release_id, release.state.value),
        )


_SELECT: Final = (
    "select release_id, dataset_md5, fingerprint, build, state, run_id, run_nonce, manifest, "
    "manifest_sha256, tables, created_at, changed_at, completed_at, promoted_at, "
    "features_prefix from recsys.releases"
)


def _one(conn: Connection, where: str, *parameters: Any) -> Release | None:
    with conn.cursor(row_factory=class_row(Release)) as cur:
        return cur.execute(f"{_SELECT} {where}", parameters).fetchone()
