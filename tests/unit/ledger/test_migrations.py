"""Released migrations never change: databases have run them."""

from __future__ import annotations

from recsys.ledger import migrations

RELEASED = {
    1: "c0344dec70454d4c1619a34172ca61857dcbe7794cb2d1f521287a75e75c58db",
    2: "b507fa03cde92e25e3f3a23da54f5ff7d90495405bab3e4d360f4d093d17fda0",
}


def test_released_migrations_are_unchanged() -> None:
    digests = {migration.number: migration.sha256 for migration in migrations.available()}
    assert {number: digests[number] for number in RELEASED} == RELEASED


def test_numbers_are_consecutive() -> None:
    numbers = [migration.number for migration in migrations.available()]
    assert numbers == list(range(1, len(numbers) + 1))
