"""What `recsys doctor` finds, and how it explains it."""

from __future__ import annotations

import pytest

from recsys import ledger, monitoring
from recsys.contract import PUBLIC_MODEL_KEY
from tests.actors import an_actor
from tests.live_release import promote
from tests.release_damages import (
    age_manifest,
    damage_manifest,
    damage_model,
    lose_model,
    lose_row,
    lose_table,
)


def test_doctor_finds_no_problem_in_a_consistent_state(services, releases):
    promote(services, releases.candidate(1))
    releases.candidate(2)
    assert monitoring.problems(services) == []


def lose_public_model(services, release_id):
    services.store.delete([PUBLIC_MODEL_KEY])


def forget_in_ledger(services, release_id):
    """Simulates an older backup of the ledger: S3 has a newer release."""
    services.store.put_bytes("releases/ffffffff-ffffffff/manifest.json", b"{}")


def interrupt(services, release_id):
    with services.connect() as conn:
        ledger.begin_journal(conn, "promotion", None, release_id, an_actor())


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (damage_model, "differs from its manifest"),
        (lose_model, "there is no"),
        (damage_manifest, "was changed"),
        (age_manifest, "manifest"),
        (lose_row, "rows"),
        (lose_table, "movie_towers"),
        (lose_public_model, "recsys recover"),
        (forget_in_ledger, "older backup"),
        (interrupt, "open journal"),
    ],
)
def test_doctor_finds_and_explains(services, releases, harm, says):
    first = releases.candidate(1)
    promote(services, first)
    harm(services, first)
    found = monitoring.problems(services)
    assert any(says in problem for problem in found), found
