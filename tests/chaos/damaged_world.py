"""A world that is damaged: what doctor, recovery and rollback make of it.

After each damage, `recsys doctor` names it. Then recovery makes all whole again; or it refuses, and
a rollback to the earlier release leads to a whole world; or that one refuses as well, because it
is damaged, too, or the ledger is. Texts that nothing depends on (reasons, actors) are not damaged.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from pydantic import SecretStr

from recsys import monitoring
from recsys.contract import OWNER_KEY, PUBLIC_MODEL_KEY, PUBLIC_POINTER_KEY
from recsys.database import PostgresSettings
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.errors import RecsysError
from recsys.releases import recover_promotion, roll_back
from recsys.releases.recovery import ignore_step
from recsys.services import Services
from tests.actors import an_actor
from tests.chaos import invariants, operations
from tests.chaos.conftest import World, fresh_world
from tests.chaos.damages import Damage, Stored, damages
from tests.conftest import fresh_database

PUBLIC = (PUBLIC_MODEL_KEY, PUBLIC_POINTER_KEY, OWNER_KEY)
BOUND_S = 60.0
DOCTOR_EVERY = 4
"""Doctor takes as long as all the rest, so it looks at every fourth healed world once more."""


def contents(services: Services) -> Stored:
    store, found = services.store, {}
    for key in store.keys(""):
        head = store.head(key)
        assert head is not None
        found[key] = (store.get_bytes(key), head.metadata)
    return found


@dataclass
class Worlds:
    """Copies of one world: databases from a template, and one bucket that is put in order."""

    server: Postgres
    original: Services
    champion: str
    earlier: str
    stored: Stored
    all: list[Damage]
    endings: Counter[str] = field(default_factory=Counter)
    _stack: ExitStack = field(default_factory=ExitStack)
    _present: Services | None = None

    def present(self) -> Services:
        """Returns the present copy; makes one if the last was used up."""
        if self._present is None:
            template = self.original.postgres.dsn.get_secret_value().rpartition("/")[2]
            dsn = self._stack.enter_context(fresh_database(self.server, template))
            postgres = PostgresSettings(dsn=SecretStr(dsn))
            self._present = Services(postgres=postgres, s3=self.original.s3)
            # Another client of S3 for each copy would take long.
            vars(self._present)["store"] = self.original.store
        return self._present

    def use_up(self) -> None:
        """Drops the present database; the next world gets another one."""
        self._stack.close()
        self._present = None
        self.restore_objects(set(PUBLIC))

    def restore_objects(self, keys: set[str]) -> None:
        """Puts objects back as they were, as from a backup, and deletes new ones."""
        for key in keys & self.stored.keys():
            self.original.store.put_bytes(key, *self.stored[key])
        self.original.store.delete(sorted(keys - self.stored.keys()))


@contextmanager
def damaged_worlds(postgres_server: Postgres, s3_server: S3) -> Iterator[Worlds]:
    """A whole world with a champion and an earlier one, of which each damage gets a copy."""
    with fresh_world(postgres_server, s3_server) as world:
        services = world.services
        for number in (1, 2):
            make_champion(world, number)
        recover_promotion(services, actor=an_actor())
        assert monitoring.problems(services) == []
        champion, earlier, stored = world.id(2), world.id(1), contents(services)
        found = damages(services, stored, champion, earlier)
        made = Worlds(postgres_server, services, champion, earlier, stored, found)
        yield made
        made.use_up()


def make_champion(world: World, number: int) -> None:
    world.candidate(number)
    operations.run(world.services, "promote", world.id(number), ignore_step)


def check(worlds: Worlds, *harms: Damage) -> None:
    """Damages a world, and checks what doctor, recovery and rollback make of it."""
    services = worlds.present()
    what = " + ".join(map(str, harms))
    begin = time.monotonic()
    applied = [harm for harm in harms if applies(harm, services)]
    messages = monitoring.problems(services)
    # With a ledger or an owner that is damaged, nothing else can be looked at.
    # Without an owner, a bucket whose public objects say nothing could be anybody's.
    unknown = any(h.kind == "owner removed" for h in applied) and any(h.anonymous for h in applied)
    foreign = unknown or any(harm.foreign for harm in applied)
    ledger_damaged = foreign or any(harm.ledger for harm in applied)
    # While a promotion is in progress, its public copies are not those of the champion.
    in_progress = any(harm.kind.startswith("interrupted") for harm in applied)
    named = [
        any(harm.named in message for message in messages)
        or (in_progress and harm.named == "public copies")
        for harm in applied
    ]
    if unknown:
        assert "not in this database's ledger" in messages[0], f"{what}: {messages}"
    else:
        assert any(named) if ledger_damaged else all(named), f"{what}: {messages}"
    lost = frozenset().union(*(harm.releases for harm in applied))
    changed = frozenset().union(*(harm.changed for harm in applied))
    history = not any(harm.history for harm in applied)
    ending = refusal = None
    try:
        recover_promotion(services, actor=an_actor("recovery"))
        ending = "recovered"
    except RecsysError as error:
        refusal = str(error)
    if ledger_damaged:
        assert refusal or not foreign, f"{what}: changed a world of another ledger"
        try:
            roll_back(services, worlds.earlier, actor=an_actor("rollback"))
        except RecsysError:
            ending = "refused: the ledger is damaged"
        else:
            assert not foreign, f"{what}: changed a world of another ledger"
            ending = "rolled back without a table that this does not need"
    elif worlds.champion in lost | changed:
        # Recovery does not read what it does not copy, so it may have had nothing to do.
        try:
            roll_back(services, worlds.earlier, actor=an_actor("rollback"))
        except RecsysError:
            assert worlds.earlier in lost, f"{what}: no way out"
            ending = "refused: both releases are damaged"
        else:
            assert worlds.earlier not in lost, f"{what}: a damaged release was published"
            recover_promotion(services, actor=an_actor("recovery"))
            whole(worlds, services, worlds.earlier, lost | changed, what, history)
            ending = "rolled back"
    else:
        assert refusal is None, f"{what}: {refusal}"
        whole(worlds, services, worlds.champion, lost | changed, what, history)
    assert time.monotonic() - begin < BOUND_S
    worlds.endings[str(ending)] += 1
    worlds.restore_objects({harm.key for harm in harms if harm.key})
    if (
        ending != "recovered"
        or lost
        or changed
        or not history
        or any(harm.leaves for harm in harms)
    ):
        worlds.use_up()


def applies(harm: Damage, services: Services) -> bool:
    """Does the harm; False if the other one of the pair has removed what it would change."""
    try:
        harm.harm(services)
    except RecsysError:
        return False
    return True


def whole(
    worlds: Worlds,
    services: Services,
    champion: str,
    lost: frozenset[str],
    what: str,
    history: bool,
) -> None:
    """Everything holds but for what only a backup can bring back, and doctor names only that."""
    try:
        assert invariants.recovered(services, lost=lost, history=history) == champion
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error
    if not history or sum(worlds.endings.values()) % DOCTOR_EVERY:
        return
    others = [
        message
        for message in monitoring.problems(services)
        # The views that somebody renamed are their own now.
        if not any(name in message.replace("_", "-") for name in (*lost, "other.", "another."))
    ]
    assert others == [], f"{what}: {others}"


def kinds_of(worlds: Worlds) -> dict[str, list[Damage]]:
    """Returns the damages by kind, without kinds of which everything is refused.

    If the ledger is damaged, all is refused whatever else is damaged.
    """
    kinds: dict[str, list[Damage]] = defaultdict(list)
    for harm in worlds.all:
        kinds[harm.kind].append(harm)
    return {name: harms for name, harms in kinds.items() if not harms[0].ledger | harms[0].foreign}


def failure_of(worlds: Worlds, *harms: Damage) -> str | None:
    """Returns what is wrong with a damaged world; None if all is as it should be."""
    try:
        check(worlds, *harms)
    except Exception as error:
        worlds.restore_objects(set(worlds.stored))
        worlds.use_up()
        return f"{' + '.join(map(str, harms))}: {type(error).__name__}: {error}"[:1000]
    return None


def tell(worlds: Worlds) -> str:
    return ", ".join(f"{count} {ending}" for ending, count in sorted(worlds.endings.items()))
