"""Stalled worlds: servers that accept everything and answer nothing, from one call on.

PostgreSQL or S3 falls silent right before a statement or request of an operation, and stays silent
until the operation has ended. It ends with an error in bounded time. Afterwards nobody holds the
promotion lock, production is whole, and recovery works.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from recsys import ledger
from recsys.errors import RecsysError
from recsys.ledger import State
from recsys.releases import recover_promotion
from recsys.releases.lock import promotion_lock
from recsys.releases.recovery import ignore_step
from recsys.services import Services
from tests.actors import an_actor
from tests.chaos import invariants, operations
from tests.chaos.conftest import World
from tests.chaos.tap import Call, Tap
from tests.kills import Killed, kill_at
from tests.silent_proxy import SilentProxy, silent_proxy

pytestmark = pytest.mark.slow
STATEMENT_S = 0.3
LIMIT_S = 60.0
"""Generous for a loaded machine: with one wait for each silent call it would be minutes."""
POINTS = 9
"""Calls of each service, spread evenly over an operation, before which the service falls silent."""


@dataclass
class Silence(Tap):
    """Counts the calls of a service, and has it fall silent before one of them.

    Attributes:
        service: ``sql`` or ``s3``.
        nth: the call before which it falls silent, from 1; 0 for none.
        proxy: the proxy before that service.
        names: the calls so far; repetitions in the same step count once.
    """

    service: str = ""
    nth: int = 0
    proxy: SilentProxy | None = None
    names: list[str] = field(default_factory=list)

    def sql(self, call: Call, conn: Any, gen: Any, proceed: Callable[[], Any]) -> Any:
        self._count(call)
        return proceed()

    def s3(self, call: Call, request: Any, proceed: Callable[[], Any]) -> Any:
        self._count(call)
        return proceed()

    def _count(self, call: Call) -> None:
        if call.service != self.service or (call.turn and not call.has_transaction_control):
            return
        self.names.append(f"{call.phase}: {call.name}")
        if len(self.names) == self.nth:
            assert self.proxy is not None
            self.proxy.silent.set()


@dataclass
class Stallable:
    """A world, and services that reach its servers through proxies, with short limits."""

    world: World
    through: Services
    proxies: dict[str, SilentProxy]

    def run(self, operation: str, release_id: str | None, service: str, nth: int) -> Silence:
        """Runs an operation; a service falls silent before its nth call."""
        tap = Silence(self.through.store, service=service, nth=nth, proxy=self.proxies[service])
        try:
            with tap:
                operations.run(self.through, operation, release_id, tap.trace)
        finally:
            self.proxies[service].silent.clear()
        return tap


@pytest.fixture
def stallable(world: World) -> Iterator[Stallable]:
    direct = world.services
    dsn = direct.postgres.dsn.get_secret_value()
    address, endpoint = conninfo_to_dict(dsn), urlsplit(str(direct.s3.endpoint))
    with ExitStack() as stack:
        sql = stack.enter_context(silent_proxy(str(address["host"]), int(str(address["port"]))))
        s3 = stack.enter_context(silent_proxy(str(endpoint.hostname), int(endpoint.port or 80)))
        postgres = direct.postgres.model_copy(
            update={
                "dsn": SecretStr(make_conninfo(dsn, host="127.0.0.1", port=sql.port)),
                "statement_timeout": STATEMENT_S,
                "connect_timeout": 1,
            }
        )
        settings = direct.s3.model_copy(
            update={
                "endpoint": f"http://127.0.0.1:{s3.port}",
                "read_timeout": STATEMENT_S,
                "max_attempts": 2,
            }
        )
        services = Services(postgres=postgres, s3=settings)
        yield Stallable(world, services, {"sql": sql, "s3": s3})


def spread(calls: int) -> list[int]:
    """Numbers of calls from the first to the last, evenly spread."""
    points = min(POINTS, calls)
    return sorted({1 + round(i * (calls - 1) / max(1, points - 1)) for i in range(points)})


@pytest.mark.parametrize("operation", ["promote", "recover", "retire"])
@pytest.mark.parametrize("service", ["sql", "s3"])
def test_an_operation_ends_although_a_server_is_silent(
    stallable: Stallable, figure: Callable[[str], None], operation: str, service: str
) -> None:
    world = stallable.world
    for number in (1, 2):
        world.candidate(number)
        operations.run(world.services, "promote", world.id(number), ignore_step)
    live, target = 2, 1
    prepare(world, operation, target)
    probe = stallable.run(operation, target_of(world, operation, target), service, 0)
    if operation == "promote":
        live, target = target, live
    assert len(probe.names) >= 4, probe.names
    slowest, ended = 0.0, 0
    for nth in spread(len(probe.names)):
        what = f"{operation}, silent before call {nth}: {probe.names[nth - 1]}"
        prepare(world, operation, target)
        begin = time.monotonic()
        try:
            stallable.run(operation, target_of(world, operation, target), service, nth)
        except RecsysError:
            ended += 1
        # An operation whose promotion is committed leaves the rest to recovery, and succeeds.
        taken = time.monotonic() - begin
        slowest = max(slowest, taken)
        assert taken < LIMIT_S, what
        with promotion_lock(world.services, wait_s=LIMIT_S):
            pass
        champion = invariants.production(world.services)
        recover_promotion(world.services, actor=an_actor("recovery"))
        assert invariants.recovered(world.services) == champion, what
        assert champion in (world.id(live), world.id(target)), what
        if champion != world.id(live):
            live, target = target, live
    points = len(spread(len(probe.names)))
    assert ended > points // 2
    figure(
        f"stalled worlds: {operation}, {service} silent before {points} of {len(probe.names)} "
        f"calls: {ended} errors, slowest {slowest:.1f} s"
    )


def target_of(world: World, operation: str, number: int) -> str | None:
    return world.id(number) if operation == "promote" else None


def prepare(world: World, operation: str, target: int) -> None:
    """Gives each operation something to do."""
    if operation == "promote":
        operations.decide(world.services, operation, world.id(target))
    if operation == "retire":
        with world.services.connect() as conn:
            found = ledger.find(conn, world.id(9))
        if found is not None and found.state == State.RETIRING:
            operations.run(world.services, operation, None, ignore_step)
        if found is None or found.state != State.REJECTED:
            world.discarded(9)
    if operation == "recover":
        operations.decide(world.services, "promote", world.id(target))
        with pytest.raises(Killed):
            operations.run(world.services, "promote", world.id(target), kill_at("model copied"))
