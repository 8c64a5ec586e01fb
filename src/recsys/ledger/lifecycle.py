"""The lifecycle of a release: every change of its state and of what the ledger stores about it.

Every function runs in the caller's transaction, so that a change of state and its record are
committed together. The database rejects moves that `MOVES` does not list and changes without actor
and reason (migrations/0001_ledger.sql).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg.types.json import Jsonb

from recsys.contract import Build, Manifest
from recsys.database import Connection
from recsys.errors import LedgerError, LockedError
from recsys.ledger import migrations
from recsys.ledger.actor import Actor
from recsys.ledger.datasets import hold_dataset
from recsys.ledger.erasures import hold_erasures
from recsys.ledger.releases import Release, find_and_lock, get
from recsys.ledger.states import MOVES, State


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


def begin_build(
    conn: Connection, build: Build, *, run_id: str, run_nonce: str, actor: Actor
) -> Release:
    """Registers the release of a build, or resumes it; a complete release is not changed.

    Raises:
        LedgerError: another build has the same release id.
        LockedError: the release is being retired, the files of its dataset are being deleted, or
            the build does not leave out all erased users.
    """
    with acting(conn, actor):
        # A build that did not leave out the newest users would bring back those of a completed
        # request.
        covered = hold_erasures(conn, build.features.erased)
        hold_dataset(conn, build.dataset_md5)
        existing = find_and_lock(conn, build.release_id)
        if existing is None:
            conn.execute(
                "insert into recsys.releases "
                "(release_id, dataset_md5, fingerprint, build, state, run_id, run_nonce, "
                "features_prefix, erasures_covered) "
                "values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    build.release_id,
                    build.dataset_md5,
                    build.fingerprint,
                    Jsonb(build.model_dump(mode="json")),
                    State.BUILDING.value,
                    run_id,
                    run_nonce,
                    build.features_prefix,
                    covered,
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
                "features_prefix = %s, erasures_covered = %s where release_id = %s",
                (
                    State.BUILDING.value,
                    run_id,
                    run_nonce,
                    build.features_prefix,
                    covered,
                    build.release_id,
                ),
            )
        elif State.BUILDING in MOVES[existing.state] or existing.state == State.BUILDING:
            conn.execute(
                "update recsys.releases set state = %s, run_id = %s, features_prefix = %s, "
                "erasures_covered = %s, changed_at = clock_timestamp() where release_id = %s",
                (State.BUILDING.value, run_id, build.features_prefix, covered, build.release_id),
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
