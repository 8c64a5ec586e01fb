"""Served releases are tested on the ratings of a new dump that they could not know."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from psycopg.errors import CheckViolation

from recsys import ledger, monitoring, pipeline, reports
from recsys.contract import (
    INBOX_PREFIX,
    SEALS_PREFIX,
    TrainerInput,
    forward_file,
    forward_pairs_key,
    seal,
)
from recsys.experiments import Dump, History
from recsys.gate import ForwardSettings
from recsys.ledger import Actor, State
from recsys.releases import promote_release
from recsys.services import Services
from tests.dump_releases import DumpReleases, constant, three_dumps

SETTINGS = ForwardSettings(min_rows=50, min_users=10)
ADA = Actor("Ada Lovelace", "tests", "a test")


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> list[Dump]:
    """Three dumps of one history; number 1 is the oldest."""
    return three_dumps(tmp_path_factory.mktemp("history"))


@pytest.fixture
def dump_releases(services: Services, dumps: list[Dump]) -> DumpReleases:
    return DumpReleases(services, dumps)


def history_of(services: Services, release_id: str) -> list[str]:
    with services.connect() as conn:
        return [event["action"] for event in ledger.history(conn, release_id)]


def test_two_dumps_of_one_history_show_promised_and_realized(
    services: Services, dump_releases: DumpReleases, dumps: list[Dump]
) -> None:
    release_id = dump_releases.promoted(1)
    run = dump_releases.features(2)
    predict = constant({1: 2.0}, dump_releases)

    [test] = pipeline.forward_test(services, run, SETTINGS, predict)

    # The expected numbers, from the two dumps.
    newer = dump_releases.seen[2].filter(pl.col("timestamp") > dumps[0].until)
    assert (test.release_id, test.was_champion) == (release_id, True)
    assert test.since == dump_releases.seen[1]["timestamp"].max()
    assert test.ratings == test.rows == newer.height
    assert test.users == newer["userId"].n_unique()
    known = newer["userId"].is_in(dump_releases.seen[1]["userId"].implode())
    assert test.ranked_users == newer.filter(known)["userId"].n_unique()
    assert test.new_users == test.users - test.ranked_users
    rmse = float(((newer["rating"].cast(pl.Float64) - 2.0) ** 2).mean() ** 0.5)
    assert test.metrics["rmse"].value == pytest.approx(rmse)
    assert test.metrics["rmse"].promised_interval == (0.83, 0.87)
    assert test.decays[0].startswith("rmse: realized")
    assert "champion_decayed" in history_of(services, release_id)

    # Shown everywhere, and tested once.
    assert pipeline.forward_test(services, run, SETTINGS, predict) == []
    overview = monitoring.read_overview(services)
    assert overview.forward == [test]
    assert overview.forward_coverage["rmse"] == (0, 1)
    why = monitoring.why(services)["forward"]
    assert why["tests"][0]["metrics"]["rmse"]["promised"] == 0.85
    assert why["proposed_rollback"] is None
    assert why["consistency"]["rmse"] == [0, 1] == list(overview.forward_consistency["rmse"])
    measured = {
        (m.metric.name, m.tags.get("metric")): m.value for m in monitoring.measure_ledger(services)
    }
    assert measured["recsys.forward.realized", "rmse"] == pytest.approx(rmse)
    assert measured["recsys.forward.decayed", None] == len(test.decays)
    page = services.store.get_bytes(reports.make_report(services, release_id)).decode()
    assert "Promised and realized" in page
    assert f"{rmse:.4f}" in page


def test_an_older_release_that_is_surely_better_is_proposed_or_brought_back(
    services: Services, dump_releases: DumpReleases
) -> None:
    first, second = dump_releases.promoted(1), dump_releases.promoted(2)
    run = dump_releases.features(3)
    predict = constant({1: 3.5, 2: 1.0}, dump_releases)

    tests = pipeline.forward_test(services, run, SETTINGS, predict)

    assert [test.release_id for test in tests] == [second, first]
    assert tests[1].against_champion["rmse"][1] < 0
    assert tests[1].since < tests[0].since
    found = monitoring.why(services)["forward"]["proposed_rollback"]
    assert found["release_id"] == first
    assert monitoring.read_overview(services).proposed_rollback == (first, found["reason"])
    assert state(services, second) == State.CHAMPION, "proposed only"

    promote_release(services, first, actor=ADA, override=True)
    assert monitoring.why(services)["forward"]["proposed_rollback"] is None


def test_the_rollback_is_made_if_it_is_set_and_the_history_says_why(
    services: Services, dump_releases: DumpReleases
) -> None:
    first, second = dump_releases.promoted(1), dump_releases.promoted(2)
    run = dump_releases.features(3)
    automatic = SETTINGS.model_copy(update={"automatic_rollback": True})

    pipeline.forward_test(services, run, automatic, constant({1: 3.5, 2: 1.0}, dump_releases))

    assert state(services, first) == State.CHAMPION
    assert state(services, second) == State.ROLLED_BACK
    with services.connect() as conn:
        newest = ledger.history(conn, first, limit=1)[0]
        assert ledger.past_promotions(conn, 1)[0].starts_anew == "rolled back by forward_test"
    assert newest["actor"] == "forward_test"
    assert "newer than both" in newest["reason"]


def test_what_cannot_be_tested_says_why(services: Services, dump_releases: DumpReleases) -> None:
    assert pipeline.forward_test(services, dump_releases.features(1), SETTINGS) == [], "no champion"
    release_id = dump_releases.promoted(1)
    assert pipeline.forward_test(services, dump_releases.run(1), SETTINGS) == [], "its own dataset"
    run = dump_releases.features(2)

    [test] = pipeline.forward_test(services, run, SETTINGS.model_copy(update={"min_rows": 10**6}))
    assert "newer ratings, fewer than the 1000000" in test.problem
    assert test.metrics == {}
    assert monitoring.read_overview(services).forward[0].problem == test.problem

    run = dump_releases.features(3)
    for key in services.store.keys(f"releases/{release_id}/"):
        if key.endswith("user_towers.parquet"):
            services.store.delete([key])
    [test] = pipeline.forward_test(services, run, SETTINGS)
    assert "user_towers.parquet" in test.problem


def test_ids_that_are_dealt_anew_are_noticed(
    services: Services, dump_releases: DumpReleases, tmp_path: Path
) -> None:
    dump_releases.promoted(1)
    history = History.read(dump_releases.dumps[1].path)
    dealt = history.ratings
    for column in ("userId", "movieId"):
        ids = dealt[column].unique(maintain_order=True)
        shuffled = ids.sample(fraction=1, shuffle=True, seed=1)
        dealt = dealt.with_columns(pl.col(column).replace(ids, shuffled))
    end = int(history.ratings["timestamp"].max())  # type: ignore[arg-type]
    [other] = History(history.movies, dealt).write(tmp_path, [end])
    dump_releases.dumps = [dump_releases.dumps[0], other]

    [test] = pipeline.forward_test(services, dump_releases.features(2), SETTINGS)

    assert test.problem.startswith("ids changed")


def test_the_records_are_append_only(services: Services, dump_releases: DumpReleases) -> None:
    dump_releases.promoted(1)
    pipeline.forward_test(services, dump_releases.features(2), SETTINGS)

    with services.connect() as conn, pytest.raises(CheckViolation, match="only ever added"):
        conn.execute("delete from recsys.forward_tests")


def state(services: Services, release_id: str) -> State:
    with services.connect() as conn:
        return ledger.get(conn, release_id).state


def answer(
    services: Services,
    asked: TrainerInput,
    release_id: str,
    change: Callable[[pl.DataFrame], pl.DataFrame] = lambda stars: stars,
    *,
    key: str = "",
    about: str = "",
) -> None:
    """Writes what the verifier would for a release that predicts 2 stars, or changes it."""
    pairs = services.store.get_bytes(forward_pairs_key(asked.build.features_prefix, release_id))
    stars = pl.read_parquet(io.BytesIO(pairs)).with_columns(prediction=pl.lit(2.0, pl.Float32))
    file = io.BytesIO()
    change(stars).write_parquet(file)
    sealed = seal(file.getvalue(), key or asked.seal or "", about or release_id)
    services.store.put_bytes(asked.inbox_key(forward_file(release_id)), sealed)


def test_the_verifier_elsewhere_is_asked_for_pairs_without_ratings_and_believed_by_its_seal(
    services: Services, dump_releases: DumpReleases
) -> None:
    release_id = dump_releases.promoted(1)
    run = dump_releases.features(2)
    asked = pipeline.ask_for_stars(services, run, SETTINGS)
    assert asked is not None
    assert asked.seal is not None
    assert asked.forward == (release_id,)
    assert TrainerInput.from_environment(asked.to_environment()) == asked
    key = forward_pairs_key(run.build.features_prefix, release_id)
    assert pl.read_parquet(io.BytesIO(services.store.get_bytes(key))).columns == [
        "userId",
        "movieId",
    ]
    # A retry, whose first try may still run, asks for the same.
    assert pipeline.ask_for_stars(services, run, SETTINGS) == asked
    answer(services, asked, release_id)

    [test] = pipeline.forward_test(services, run, SETTINGS, pipeline.predicted_by_verifier(run))

    newer = dump_releases.seen[2].filter(pl.col("timestamp") > test.since)
    rmse = float(((newer["rating"].cast(pl.Float64) - 2.0) ** 2).mean() ** 0.5)
    assert test.metrics["rmse"].value == pytest.approx(rmse)
    assert test.rows == newer.height
    assert test.problem == ""
    for prefix in (INBOX_PREFIX, SEALS_PREFIX):
        assert services.store.keys(prefix) == [], "worthless now"
    assert pipeline.ask_for_stars(services, run, SETTINGS) is None, "tested already"


OTHER_KEY = "0d" * 32
LIES: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], dict[str, str], str]] = {
    "another key": (lambda stars: stars, {"key": OTHER_KEY}, "its seal is wrong"),
    "of another release": (
        lambda stars: stars,
        {"about": "0123abcd-0123abcd"},
        "its seal is wrong",
    ),
    "a pair less": (lambda stars: stars.head(-1), {}, "incomplete"),
    "a pair twice": (lambda stars: pl.concat([stars, stars.head(1)]), {}, "has too many rows"),
    "no stars": (lambda stars: stars.with_columns(prediction=pl.lit(9.0)), {}, "incomplete"),
    "not a number": (
        lambda stars: stars.with_columns(prediction=pl.lit(float("nan"))),
        {},
        "incomplete",
    ),
    "texts": (lambda stars: stars.with_columns(prediction=pl.lit("many")), {}, "column"),
    "without stars": (lambda stars: stars.drop("prediction"), {}, "another form"),
}


@pytest.mark.parametrize("lie", [*LIES, "nothing"])
def test_without_true_stars_the_rankings_are_tested_and_the_record_says_why(
    services: Services, dump_releases: DumpReleases, lie: str
) -> None:
    release_id = dump_releases.promoted(1)
    run = dump_releases.features(2)
    asked = pipeline.ask_for_stars(services, run, SETTINGS)
    assert asked is not None
    change, how, reason = LIES.get(lie, (None, {}, "predicted no stars"))
    if change:
        answer(services, asked, release_id, change, **how)

    [test] = pipeline.forward_test(services, run, SETTINGS, pipeline.predicted_by_verifier(run))

    assert reason in test.problem
    assert test.problem.startswith("its stars were not tested: ")
    assert "rmse" not in test.metrics
    assert test.ranked_users
    assert "ndcg@10" in test.metrics
    assert test.rows == 0
    page = services.store.get_bytes(reports.make_report(services, release_id)).decode()
    assert "its stars were not tested" in page


def test_there_is_nothing_to_predict_without_a_champion_or_newer_ratings(
    services: Services, dump_releases: DumpReleases
) -> None:
    assert pipeline.ask_for_stars(services, dump_releases.features(1), SETTINGS) is None
    dump_releases.promoted(1)
    assert pipeline.ask_for_stars(services, dump_releases.run(1), SETTINGS) is None
    run = dump_releases.features(2)
    many = SETTINGS.model_copy(update={"min_rows": 10**6})
    assert pipeline.ask_for_stars(services, run, many) is None
    assert services.store.keys(SEALS_PREFIX) == []
