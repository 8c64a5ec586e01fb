"""The release that readers see, and how it becomes that."""

from __future__ import annotations

import json
from contextlib import suppress

from recsys import ledger
from recsys.contract import PUBLIC_MODEL_KEY, PUBLIC_POINTER_KEY, PUBLIC_TABLES, table_name
from recsys.releases import ChampionChange, live_tables, promote_release, public_copies_match
from tests.actors import an_actor
from tests.release_maker import Releases


def promote(services, release_id: str) -> ChampionChange:
    """Promotes a release that is judged against the champion of this moment, if it is complete."""
    with suppress(ValueError), services.connect() as conn:
        known = ledger.find(conn, release_id)
        if known is not None and known.state in ledger.SERVABLE:
            Releases(services).judge(release_id)
    return promote_release(services, release_id, actor=an_actor("test", "test"))


def assert_live(services, release_id: str | None, model: bytes | None) -> None:
    """Asserts that all public names belong to the same release."""
    with services.connect() as conn:
        champion = ledger.champion(conn)
        assert (champion.release_id if champion else None) == release_id
        assert public_copies_match(services.store, champion)
        assert conn.execute("select from recsys.journal where closed_at is null").fetchall() == []
        if release_id is None:
            assert live_tables(conn) == {}
            return
        assert live_tables(conn) == {t.name: table_name(t.name, release_id) for t in PUBLIC_TABLES}
        row = conn.execute("select release_id from recsys.current_release").fetchall()
        assert row == [(release_id,)]
    assert services.store.get_bytes(PUBLIC_MODEL_KEY) == model
    pointer = json.loads(services.store.get_bytes(PUBLIC_POINTER_KEY))
    assert pointer["release_id"] == release_id


class Interrupted(BaseException):
    """Simulates a kill: no handler of the protocol catches it."""
