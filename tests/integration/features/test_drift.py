"""Drift of a run's dataset from the champion's, in the store and in the answers of `why`."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recsys import contract, features, ledger, monitoring, pipeline
from recsys.contract import Build, FeatureSettings
from recsys.errors import DatasetError, ServiceUnavailableError
from recsys.features import DriftSettings, drift_measurement
from recsys.gate import GateSettings, judge
from recsys.object_store import ObjectStore
from recsys.releases import promote_release
from recsys.services import Services
from tests.actors import an_actor
from tests.metrics_maker import GOOD, as_judged
from tests.release_maker import Releases


def make(
    services: Services,
    md5: str,
    users: range,
    movies: range,
    work: Path,
    rates: Callable[[int, int], bool] = lambda user, movie: True,
) -> None:
    """Features of a dataset in which the users rate the movies, by default all of them."""
    ratings = "".join(
        f"{user},{movie},{1 + (user + movie) % 4}.0,{1_000_000_000 + 86_400 * user}\n"
        for user in users
        for movie in movies
        if rates(user, movie)
    )
    titles = "".join(f"{movie},Movie {movie} (1999),Drama\n" for movie in movies)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("ratings.csv", "userId,movieId,rating,timestamp\n" + ratings)
        archive.writestr("movies.csv", "movieId,title,genres\n" + titles)
    services.store.put_bytes(
        contract.dataset_key(md5, contract.DATASET_FILE),
        out.getvalue(),
        {"sha256": hashlib.sha256(out.getvalue()).hexdigest()},
    )
    features.generate_data_frames(md5, services.store, FeatureSettings(), work)


def prefix(md5: str) -> str:
    return FeatureSettings().prefix(md5)


def run_of(build: Build) -> pipeline.Run:
    return pipeline.Run(run_id="manual__drift", source="none", build=build)


@pytest.fixture
def champion(services: Services, releases: Releases, tmp_path: Path) -> str:
    """A champion of a dataset of users 1 to 40 and movies 1 to 20; returns the dataset's md5."""
    promote_release(services, releases.candidate(1), actor=an_actor())
    md5 = releases.build(1).dataset_md5
    make(services, md5, range(1, 41), range(1, 21), tmp_path)
    return md5


def test_new_and_vanished_users_and_movies_are_counted(
    services: Services, releases: Releases, champion: str, tmp_path: Path
) -> None:
    md5 = releases.build(2).dataset_md5
    make(services, md5, range(11, 61), range(1, 17), tmp_path)
    found = pipeline.measure_drift(services, run_of(releases.build(2)), DriftSettings())
    assert found is not None
    assert (found.md5, found.champion_md5) == (md5, champion)
    assert found.vanished_users == pytest.approx(10 / 40)
    assert found.new_users == pytest.approx(20 / 50)
    assert found.vanished_movies == pytest.approx(4 / 20)
    assert found.new_movies == 0
    assert found.changed_pairs == 0, "who is still there has rated what is still there"
    assert found.row_growth == pytest.approx(50 * 16 / (40 * 20) - 1)
    assert found.newest_days == 20
    assert found.psi["release_years"] == 0
    assert found.psi["user_activity"] < 0.01, "16 and 20 ratings are of one bin"
    assert features.read_drift(prefix(md5), champion, services.store) == found


def test_ids_that_are_dealt_anew_are_counted_pair_by_pair(
    services: Services, releases: Releases, tmp_path: Path
) -> None:
    """Neither ids nor distributions change: each user's ratings are another user's now."""
    promote_release(services, releases.candidate(1), actor=an_actor())
    users, movies = range(1, 41), range(1, 41)
    then, now = (releases.build(number).dataset_md5 for number in (1, 2))
    make(services, then, users, movies, tmp_path, lambda user, movie: (user + movie) % 5 < 2)
    make(services, now, users, movies, tmp_path, lambda user, movie: 2 <= (user + movie) % 5 < 4)

    found = pipeline.measure_drift(services, run_of(releases.build(2)), DriftSettings())

    assert found is not None
    assert found.changed_pairs == 1
    assert (found.vanished_users, found.new_users, found.vanished_movies) == (0, 0, 0)
    assert max(found.psi.values()) < 0.01


def test_pairs_are_compared_for_a_sample_of_users_however_much_a_dataset_grows(
    services: Services, releases: Releases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift_measurement, "SAMPLE_USERS", 10)
    joined: list[int] = []
    compute = drift_measurement.compute_drift

    def watched(*given: Any) -> Any:
        joined.extend(ids.pairs["userId"].n_unique() for ids in given[2:])
        return compute(*given)

    monkeypatch.setattr(drift_measurement, "compute_drift", watched)
    promote_release(services, releases.candidate(1), actor=an_actor())
    then, now = (releases.build(number).dataset_md5 for number in (1, 2))
    movies = range(1, 41)
    make(services, then, range(1, 41), movies, tmp_path, lambda user, movie: movie <= 20)
    make(services, now, range(1, 201), movies, tmp_path, lambda user, movie: 10 < movie <= 30)

    found = pipeline.measure_drift(services, run_of(releases.build(2)), DriftSettings(accept=True))

    assert found is not None
    assert found.vanished_movies == 0.5
    assert found.changed_pairs == 0, "movies 1 to 10 are gone, which is another measure"
    assert len(joined) == 2
    assert joined[0] == joined[1], "of the new users none is read pair by pair"
    assert 3 <= joined[0] <= 20


def test_drift_is_measured_once_and_again_after_a_change_of_features(
    services: Services, releases: Releases, champion: str, tmp_path: Path
) -> None:
    md5 = releases.build(2).dataset_md5
    make(services, md5, range(1, 31), range(1, 21), tmp_path)
    first = features.measure_drift(prefix(md5), prefix(champion), services.store)
    assert first is not None
    marked = first.model_copy(update={"new_users": 0.123})
    services.store.put_bytes(contract.drift_key(prefix(md5), champion), marked.to_json())
    assert features.measure_drift(prefix(md5), prefix(champion), services.store) == marked
    services.store.delete([contract.features_key(prefix(md5), contract.STATS_FILE)])
    make(services, md5, range(1, 31), range(1, 20), tmp_path)
    again = features.measure_drift(prefix(md5), prefix(champion), services.store)
    assert again is not None
    assert again.new_users == first.new_users
    assert again.sha256 != first.sha256
    services.store.put_bytes(contract.drift_key(prefix(md5), champion), b'{"md5": ')
    assert features.measure_drift(prefix(md5), prefix(champion), services.store) == again


def test_a_hard_breach_fails_the_run_permanently_unless_accepted(
    services: Services, releases: Releases, champion: str, tmp_path: Path
) -> None:
    md5 = releases.build(2).dataset_md5
    make(services, md5, range(1, 9), range(1, 21), tmp_path)
    run = run_of(releases.build(2))
    with pytest.raises(DatasetError, match="drifted too far") as caught:
        pipeline.measure_drift(services, run, DriftSettings())
    assert "vanished_users is 0.8, limit 0.4" in str(caught.value.found)
    assert "row_growth is -0.8, limit -0.4" in str(caught.value.found)
    assert features.read_drift(prefix(md5), champion, services.store) is not None, (
        "it can be looked at"
    )
    accepted = pipeline.measure_drift(services, run, DriftSettings(accept=True))
    assert accepted is not None


def test_without_another_dataset_to_compare_with_there_is_no_drift(
    services: Services, releases: Releases, tmp_path: Path
) -> None:
    first = releases.candidate(1)
    md5 = releases.build(1).dataset_md5
    make(services, md5, range(1, 9), range(1, 9), tmp_path)
    run = run_of(releases.build(1))
    assert pipeline.measure_drift(services, run, DriftSettings()) is None, "no champion"
    promote_release(services, first, actor=an_actor())
    assert pipeline.measure_drift(services, run, DriftSettings()) is None, "the same dataset"
    other = releases.build(2).dataset_md5
    make(services, other, range(1, 9), range(1, 9), tmp_path)
    services.store.delete([contract.features_key(prefix(md5), contract.STATS_FILE)])
    gone = pipeline.measure_drift(services, run_of(releases.build(2)), DriftSettings())
    assert gone is None, "the champion's features are gone"


def test_why_shows_quarantine_and_the_drift_from_the_champion_of_that_time(
    services: Services, releases: Releases, champion: str, tmp_path: Path
) -> None:
    make(services, releases.build(2).dataset_md5, range(1, 35), range(1, 21), tmp_path)
    pipeline.measure_drift(services, run_of(releases.build(2)), DriftSettings())
    one, two = releases.build(1).release_id, releases.candidate(2)
    with services.connect() as conn:
        decision = judge(as_judged(GOOD), None, GateSettings())
        ledger.record_decision(conn, two, one, "run", decision, None)
    promote_release(services, two, actor=an_actor())

    data = monitoring.why(services)["data"]
    assert data["files"]["ratings.csv"] == {"rows": 680, "quarantined": 0, "quarantine": {}}
    assert data["drift"]["champion_md5"] == champion
    assert data["drift"]["measures"]["vanished_users"] == pytest.approx(6 / 40)
    breaches = {breach["measure"]: breach["hard"] for breach in data["drift"]["breaches"]}
    assert breaches == {"vanished_users": False, "row_growth": False, "newest_days": False}
    assert monitoring.why(services, one)["data"]["drift"] is None, "the first had no champion"
    services.store.delete([contract.features_key(prefix(champion), contract.STATS_FILE)])
    assert monitoring.why(services, one)["data"] is None


def test_why_answers_while_s3_is_down(
    services: Services, champion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(self: ObjectStore, key: str) -> None:
        raise ServiceUnavailableError("S3 does not answer")

    monkeypatch.setattr(ObjectStore, "head", down)
    found = monitoring.why(services)
    assert found["data"] is None
    assert found["release"]["dataset_md5"] == champion
