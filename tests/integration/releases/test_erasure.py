"""Users with ids that occur nowhere else are erased: two searches written apart find no trace."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import polars as pl
import psycopg
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from recsys import ledger, pipeline, releases
from recsys.contract import DATASET_FILE, BuildSettings, certificate_key, dataset_key
from recsys.dataset import fetch_dataset
from recsys.errors import ConfigurationError, LedgerError, LockedError
from recsys.experiments import Dump
from recsys.features import generate_data_frames
from recsys.ledger import State
from recsys.pipeline import Run
from recsys.releases import (
    RetentionSettings,
    finish_erasures,
    request_erasure,
    retire_old_releases,
    roll_back,
    search_everything,
)
from recsys.services import Services
from tests.actors import an_actor
from tests.planted_users import BYSTANDER, PLANTED, PlantedReleases, places, planted_dumps
from tests.signing_keys import make_keys

REASON = an_actor("ada", "request 2026-118")


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> list[Dump]:
    return planted_dumps(tmp_path_factory.mktemp("planted"))


@pytest.fixture
def planted(services: Services, dumps: list[Dump]) -> PlantedReleases:
    return PlantedReleases(services, dumps)


def states(services: Services) -> dict[str, State]:
    with services.connect() as conn:
        return {release.release_id: release.state for release in ledger.all_releases(conn)}


def live_users(services: Services) -> set[int]:
    with services.connect() as conn:
        return {row[0] for row in conn.execute("select userid from recsys_live.user_towers")}


def test_a_planted_user_is_erased(services: Services, planted: PlantedReleases, tmp_path: Path):
    old = [planted.promoted(number) for number in (1, 2, 3)]
    before = places(services)
    for part in ("dataset.zip", "interactions", "quarantine", "model.keras", "user_towers_"):
        assert any(part in name for name in before), part
    own = {each.name for each in search_everything(services).searched if each.found}
    assert own == set(), "nobody is searched for before a request"

    assert request_erasure(services, PLANTED, actor=REASON) == sorted(PLANTED)
    assert live_users(services).isdisjoint(PLANTED)
    # Both searches agree on where the users are, but for views and for the request itself.
    found = {each.name for each in search_everything(services).traces}
    assert {n for n in found if "recsys_" not in n} == set(places(services)) - {
        "recsys.erased_users"
    }
    assert finish_erasures(services, actor=REASON).champion_knows
    assert states(services)[old[2]] is State.CHAMPION

    new = planted.promoted(4, dump=3)
    assert new != old[2]
    assert live_users(services).isdisjoint(PLANTED)
    assert BYSTANDER in live_users(services)
    status = finish_erasures(services, actor=REASON)
    assert (status.completed, status.pending, status.traces) == (2, 0, ())
    assert places(services) == []
    assert states(services) == {**dict.fromkeys(old, State.RETIRED), new: State.CHAMPION}
    with pytest.raises(LedgerError):
        roll_back(services, old[2], actor=REASON)

    keys = make_keys(tmp_path, "signing")
    search = search_everything(services)
    assert not search.traces
    assert not search.undecoded
    certificate = releases.certify(services, search, keys.key)
    assert services.store.get_bytes(certificate_key(str(search.digest))) == certificate
    assert places(services) == []
    check_as_a_stranger(certificate, keys.public.read_bytes())


def check_as_a_stranger(certificate: bytes, public: bytes) -> None:
    """What docs/erasing-a-user.md tells anybody to do who has the public key."""
    envelope = json.loads(certificate)["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    key = load_pem_public_key(public)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    predicate = json.loads(payload)["predicate"]
    assert predicate["result"] == "no trace"
    assert len(predicate["outOfReach"]) == len(releases.OUT_OF_REACH)
    assert {request["number"] for request in predicate["requests"]} == {1, 2}


def test_a_later_dump_does_not_bring_a_user_back(services: Services, planted: PlantedReleases):
    planted.promoted(1)
    request_erasure(services, PLANTED, actor=REASON)
    planted.promoted(4, dump=1)
    assert finish_erasures(services, actor=REASON).completed == 2
    planted.promoted(3)
    assert places(services) == []
    run = planted.runs[3]
    assert services.store.head(dataset_key(run.build.dataset_md5, DATASET_FILE)) is None
    key = run.build.features_key("stats.json")
    stats = json.loads(services.store.get_bytes(key))
    quarantine = stats["files"]["ratings.csv"]["quarantine"]
    # 12 valid rows of each user, and those invalid ones that are still known to be theirs.
    assert quarantine["erased"] == 2 * (12 + 2)


def test_readers_of_the_table_itself_do_not_see_the_user(
    services: Services, planted: PlantedReleases
):
    release_id = planted.promoted(1)
    table = releases.release_table("user_towers", release_id)
    with services.connect() as conn:
        query = f"select count(*) from {table} where userid = any(%s)"
        assert conn.execute(query, (list(PLANTED),)).fetchone() == (2,)
        conn.execute("listen recsys_release")
        request_erasure(services, PLANTED, actor=REASON)
        [notice] = conn.notifies(timeout=5, stop_after=1)
        assert notice.payload == "users erased"
        with conn.transaction(force_rollback=True):
            conn.execute("set local role recsys_site")
            assert conn.execute(query, (list(PLANTED),)).fetchone() == (0,)
            assert conn.execute(query, ([BYSTANDER],)).fetchone() == (1,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
                conn.execute("select * from recsys.erased_users")


def test_the_filter_stays_in_a_rollback(services: Services, planted: PlantedReleases):
    first = planted.promoted(1)
    planted.promoted(2)
    request_erasure(services, PLANTED, actor=REASON)
    roll_back(services, first, actor=REASON)
    assert live_users(services).isdisjoint(PLANTED)
    assert BYSTANDER in live_users(services)


def test_a_rollback_does_not_leave_a_release_without_the_user(
    services: Services, planted: PlantedReleases
):
    first = planted.promoted(1)
    request_erasure(services, PLANTED, actor=REASON)
    planted.promoted(4, dump=1)
    with pytest.raises(LedgerError, match="may know users who were erased"):
        roll_back(services, first, actor=REASON)


def test_nothing_is_deleted_for_an_unknown_user(services: Services, planted: PlantedReleases):
    first, second = planted.promoted(1), planted.promoted(2)
    assert request_erasure(services, [11_111_111], actor=REASON) == [11_111_111]
    status = finish_erasures(services, actor=REASON)
    assert (status.completed, status.retired) == (1, ())
    assert states(services) == {first: State.SUPERSEDED, second: State.CHAMPION}
    roll_back(services, first, actor=REASON)


def test_an_id_that_is_also_a_movie_is_no_trace(services: Services, planted: PlantedReleases):
    planted.promoted(1)
    movie = int(
        planted.seen[1].filter(~planted.seen[1]["movieId"].is_in(planted.users(1)))["movieId"][0]
    )
    request_erasure(services, [movie], actor=REASON)
    status = finish_erasures(services, actor=REASON)
    assert (status.completed, status.traces) == (1, ())


def test_all_users_of_a_slice_are_erased(services: Services, planted: PlantedReleases):
    """Those who rated least, as in a slice of the gate; nothing of the others changes."""
    planted.promoted(1)
    counted = planted.seen[1].group_by("userId").len().sort("len", "userId")["userId"].to_list()
    few, others = counted[: len(counted) // 2], counted[len(counted) // 2 :]
    before = planted.seen[1]
    request_erasure(services, few, actor=REASON)
    assert live_users(services) == set(others)
    planted.promoted(4, dump=1)
    status = finish_erasures(services, actor=REASON)
    assert (status.completed, status.traces) == (len(few), ())
    assert live_users(services) == set(others)
    kept = ("userId", "movieId", "rating", "timestamp")
    after = planted.seen[4].select(kept).sort(kept)
    assert after.equals(before.filter(pl.col("userId").is_in(others)).select(kept).sort(kept))


def test_the_unknown_user_of_golden_predictions_is_no_trace(
    services: Services, planted: PlantedReleases
):
    """The trainer asks for the id after the largest one: the erased user's, if it was the last."""
    planted.promoted(1)
    request_erasure(services, PLANTED, actor=REASON)
    planted.unknown = [max(PLANTED)]
    planted.promoted(4, dump=1)
    status = finish_erasures(services, actor=REASON)
    assert (status.completed, status.traces) == (2, ())


def test_a_certificate_claims_no_more_than_was_decoded(
    services: Services, planted: PlantedReleases
):
    """Readers of the result alone must not take an object that nobody could read for searched."""
    planted.promoted(1)
    request_erasure(services, PLANTED, actor=REASON)
    planted.promoted(4, dump=1)
    key = planted.runs[4].build.features_key("rows.csv.gz")
    services.store.put_bytes(key, gzip.compress(f"userId\n{PLANTED[0]}\n".encode()))
    assert finish_erasures(services, actor=REASON).completed == 2
    search = search_everything(services)
    predicate = json.loads(releases.certify(services, search, None))["predicate"]
    assert predicate["result"] == search.result == "not proven"
    [undecoded] = predicate["notDecoded"]
    assert undecoded["name"] == key
    assert "delete it from the bucket" in undecoded["toDo"]

    services.store.delete([key])
    assert search_everything(services).result == "no trace"


def test_a_request_is_recorded_once(services: Services, planted: PlantedReleases):
    planted.promoted(1)
    assert request_erasure(services, PLANTED, actor=REASON) == sorted(PLANTED)
    assert request_erasure(services, PLANTED, actor=REASON) == []
    planted.promoted(4, dump=1)
    assert finish_erasures(services, actor=REASON).completed == 2
    assert finish_erasures(services, actor=REASON) == releases.ErasureStatus()
    # Asked for again, the request begins anew and finds nothing.
    assert request_erasure(services, PLANTED[:1], actor=REASON) == [PLANTED[0]]
    assert finish_erasures(services, actor=REASON).completed == 1
    assert places(services) == []


def test_a_reason_does_not_name_the_user(services: Services):
    with pytest.raises(ConfigurationError, match="the reason names the user"):
        request_erasure(services, [PLANTED[0]], actor=an_actor("ada", f"user {PLANTED[0]} asked"))


def test_requests_are_kept(services: Services):
    request_erasure(services, PLANTED, actor=REASON)
    with services.connect() as conn:
        for statement in (
            "delete from recsys.erased_users",
            "truncate recsys.erased_users",
            "update recsys.erased_users set digest = repeat('0', 64)",
            "update recsys.erasure_key set key = sha256('')",
        ):
            with pytest.raises(psycopg.errors.CheckViolation):
                conn.execute(statement)


def begun_before_the_request(planted: PlantedReleases) -> Run:
    """Begins a run of the first dump with another trainer than that of the promoted releases."""
    return pipeline.data_is_new(
        planted.services,
        source=str(planted.dumps[0].path),
        trainer_digest=f"sha256:{'b' * 64}",
        settings=BuildSettings(),
        run_id="late",
        force=False,
        actor=an_actor(),
    ).run


def test_a_late_download_of_an_older_run_leaves_no_raw_dataset(
    services: Services, planted: PlantedReleases
):
    """The run downloads while the erasure ends, and the live release is of the same dataset."""
    planted.promoted(1)
    late = begun_before_the_request(planted)
    request_erasure(services, PLANTED, actor=REASON)
    planted.promoted(4, dump=1)
    completed = []

    def while_it_downloads(done: int, total: int | None) -> None:
        if not completed:
            completed.append(finish_erasures(services, actor=REASON).completed)

    with pytest.raises(LedgerError, match="retired"):
        pipeline.fetch_dataset(services, late, while_it_downloads)
    assert completed == [2]
    assert services.store.head(dataset_key(late.build.dataset_md5, DATASET_FILE)) is None
    assert places(services) == []


@pytest.mark.parametrize("clean_up", ["retirement", "erasure"])
def test_what_a_killed_late_run_left_is_deleted(
    services: Services, planted: PlantedReleases, tmp_path: Path, clean_up: str
):
    """It was killed after it had stored something, before it looked at its release again."""
    planted.promoted(1)
    late = begun_before_the_request(planted)
    request_erasure(services, PLANTED, actor=REASON)
    planted.promoted(4, dump=1)
    assert finish_erasures(services, actor=REASON).completed == 2
    md5 = late.build.dataset_md5
    fetch_dataset(late.source, md5, services.store)
    generate_data_frames(md5, services.store, late.features, tmp_path)
    assert len(places(services)) >= 3

    if clean_up == "retirement":
        retire_old_releases(services, RetentionSettings(), actor=REASON)
    else:
        assert finish_erasures(services, actor=REASON).pending == 0
    assert places(services) == []
    assert search_everything(services).result == "no trace"


def test_the_dataset_that_a_run_is_about_to_read_is_not_deleted(
    services: Services, planted: PlantedReleases
):
    planted.promoted(1)
    request_erasure(services, PLANTED, actor=REASON)
    planted.promoted(4, dump=1)
    finish_erasures(services, actor=REASON)
    run = planted.run(5, dump=2)
    pipeline.fetch_dataset(services, run)
    raw = dataset_key(run.build.dataset_md5, DATASET_FILE)
    retire_old_releases(services, RetentionSettings(), actor=REASON)
    assert services.store.head(raw) is not None
    pipeline.generate_data_frames(services, run)
    assert services.store.head(raw) is None
    assert places(services) == []


def test_no_build_begins_with_an_older_list_of_erased_users(
    services: Services, planted: PlantedReleases
):
    """Between reading the list and registering the release, a request may begin and be completed.

    The user of such a request may be one of the new dump whom no release knows yet.
    """
    run = begun_before_the_request(planted)
    request_erasure(services, PLANTED, actor=REASON)
    assert finish_erasures(services, actor=REASON).completed == 2
    with services.connect() as conn, pytest.raises(LockedError, match="while this build began"):
        ledger.begin_build(conn, run.build, run_id="late", run_nonce="n" * 32, actor=REASON)
    assert begun_before_the_request(planted).features.erased is not None
