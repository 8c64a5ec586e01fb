"""The forward test: served releases on the ratings of a new dataset that they could not know."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from recsys import contract, ledger, releases, vectors
from recsys.contract import WIDE, RatingScale
from recsys.database import Connection
from recsys.errors import PermanentError
from recsys.evaluation import (
    ID_TYPES,
    ForwardAnswers,
    ForwardMetrics,
    Towers,
    compare_forward,
    id_type,
    measure_forward,
    recommend,
    with_id_type,
)
from recsys.gate import (
    ForwardMetric,
    ForwardSettings,
    ForwardTest,
    better_release,
    decays,
    promised,
)
from recsys.ledger import Action, Actor, Release
from recsys.pipeline.forward_ratings import (
    PAIR,
    UntestableError,
    newer_ratings,
    releases_to_test,
)
from recsys.pipeline.forward_stars import Stars
from recsys.pipeline.run import Run
from recsys.scratch import scratch_folder
from recsys.services import Services

log = logging.getLogger(__name__)

_MAX_CHANGED_PAIRS: Final = 0.5
_MAX_PROBLEM: Final = 300


@dataclass(frozen=True)
class _Answered:
    """A release with its answers.

    Attributes:
        since: the newest timestamp of its dataset.
        pairs: userId, movieId, rating, timestamp: ratings that it could not know.
        new_users: users of these that it has no vector of.
        movie_ids: sorted ids of all movies of it and of the pairs.
        answers: its predictions and recommendations.
        problem: why there are no predictions; else empty.
    """

    since: int
    pairs: pl.DataFrame
    new_users: int
    movie_ids: np.typing.NDArray[np.int64]
    answers: ForwardAnswers
    problem: str


def forward_test(
    services: Services, run: Run, settings: ForwardSettings, stars: Stars | None = None
) -> list[ForwardTest]:
    """Tests the champion and former champions on newer ratings, and records the results.

    A release is tested once on each dataset. If the champion is surely worse than promised, the
    history says so, which is an alert. If an older release is surely better on ratings newer than
    both, `recsys why` proposes the rollback, or with ``automatic_rollback`` it is made.

    Args:
        services: PostgreSQL and S3.
        run: the run, whose features exist.
        settings: what is tested, and the limits.
        stars: who predicts stars; None: only the rankings are tested.

    Returns:
        The tests of this call, the champion's first.

    Raises:
        TransientError: a server does not respond; nothing was recorded.
    """
    wanted = releases_to_test(services, run, settings)
    if not wanted:
        releases.forget_stars(services.store, run.release_id, run.run_nonce)
        return []
    tests = list(_tests(services, run, wanted, settings, stars))
    with services.connect() as conn:
        for test in tests:
            if ledger.record_forward_test(conn, run.run_id, test):
                log.info("%s", _in_words(test))
        _note_decay(conn, run, tests[0])
    releases.forget_stars(services.store, run.release_id, run.run_nonce)
    better = better_release(tests)
    if better is not None:
        release_id, why = better
        log.warning("release %s is better than the champion %s", release_id, why)
        if settings.automatic_rollback:
            actor = Actor.from_run(run.run_id, f"forward test: {why}", "forward_test")
            releases.roll_back(services, release_id, actor=actor)
    return tests


def _tests(
    services: Services,
    run: Run,
    wanted: list[Release],
    settings: ForwardSettings,
    stars: Stars | None,
) -> Iterator[ForwardTest]:
    with scratch_folder("forward") as work:
        interactions = work / contract.INTERACTIONS_FILE
        services.store.download(run.build.features_key(contract.INTERACTIONS_FILE), interactions)
        of_champion: _Answered | None = None
        for release in wanted:
            test = ForwardTest(
                release_id=release.release_id,
                dataset_md5=run.build.dataset_md5,
                was_champion=release is wanted[0],
                since=0,
            )
            try:
                scale = run.build.features.scale
                found = _ask(services, release, interactions, settings, stars, scale)
                if test.was_champion:
                    of_champion = found
                test = _measured(test, release, found, of_champion)
                few = test.users < settings.min_users
                test = test.model_copy(update={"few_users": few})
                if test.was_champion:
                    test = test.model_copy(update={"decays": decays(test, settings)})
            except (UntestableError, PermanentError) as problem:
                test = test.model_copy(update={"problem": str(problem)[:_MAX_PROBLEM]})
            yield test


def _ask(
    services: Services,
    release: Release,
    interactions: Path,
    settings: ForwardSettings,
    stars: Stars | None,
    scale: RatingScale,
) -> _Answered:
    """Returns the answers of a served release about the ratings that it could not know.

    Its predictions are mapped to the scale of these ratings.
    """
    since, newer = newer_ratings(services, release, interactions, settings)
    if release.id_bits == WIDE:
        # The new dataset may have shorter ids.
        newer = with_id_type(newer, ID_TYPES[WIDE])
    with scratch_folder("forward-release") as work:
        towers, seen = _served_towers(services, release, newer, work)
        users = newer["userId"].unique().implode()
        rows = pl.scan_parquet(interactions).filter(
            pl.col("userId").cast(newer.schema["userId"]).is_in(users)
        )
        now = rows.select(*PAIR).collect(engine="streaming")
        _check_ids(seen, with_id_type(now, id_type(seen)))
        pairs = newer.join(seen, on=PAIR, how="anti")
        if pairs.is_empty():
            raise UntestableError("it knew all of the newer ratings")
        asked = pairs["userId"].unique().sort().to_numpy()
        known = asked[np.isin(asked, towers.user_ids)]
        lists = recommend(
            towers, known, seen.filter(pl.col("movieId").is_in(towers.movie_ids.tolist()))
        )
        predictions, problem = None, ""
        if stars is not None:
            try:
                predictions = stars(services, release, pairs, work)
                own = release.complete_manifest.build.features.scale
                if own != scale:
                    in_stars = own.to_stars(pl.col("prediction").cast(pl.Float64))
                    predictions = predictions.with_columns(prediction=scale.from_stars(in_stars))
            except PermanentError as error:
                problem = f"its stars were not tested: {error}"
    movie_ids = np.union1d(towers.movie_ids, pairs["movieId"].to_numpy()).astype(np.int64)
    return _Answered(
        since,
        pairs,
        len(asked) - len(known),
        movie_ids,
        ForwardAnswers(predictions, lists),
        problem[:_MAX_PROBLEM],
    )


def _served_towers(
    services: Services, release: Release, newer: pl.DataFrame, work: Path
) -> tuple[Towers, pl.DataFrame]:
    """Returns the served towers, and userId, movieId of what the users with newer ratings knew."""
    manifest = release.complete_manifest
    found = {}
    for table in contract.PUBLIC_TABLES:
        if table.artifact is not None:
            artifact = manifest.artifact(table.artifact)
            path = work / Path(artifact.name).name
            services.store.download(artifact.key, path, artifact.sha256)
            found[table.name] = vectors.read_vectors(path)
    user_ids, users, extra = found["user_towers"]
    movie_ids, movies, _ = found["movie_towers"]
    by_user, by_movie = np.argsort(user_ids), np.argsort(movie_ids)
    seen = (
        pl.DataFrame({"userId": user_ids, "movieId": extra["seen"]})
        .cast({"userId": newer.schema["userId"]})
        .filter(pl.col("userId").is_in(newer["userId"].unique().implode()))
        .explode("movieId")
        .drop_nulls("movieId")
        .cast({"movieId": newer.schema["movieId"]})
    )
    towers = Towers(user_ids[by_user], movie_ids[by_movie], users[by_user], movies[by_movie])
    return towers, seen


def _check_ids(seen: pl.DataFrame, now: pl.DataFrame) -> None:
    """Raises UntestableError if the dataset gives ids to others than the release's did."""
    if seen.is_empty():
        return
    missing = seen.join(now, on=PAIR, how="anti").height / seen.height
    if missing > _MAX_CHANGED_PAIRS:
        raise UntestableError(
            f"ids changed: {missing:.0%} of what it knew of these users is not in the dataset"
        )


def _measured(
    test: ForwardTest, release: Release, found: _Answered, champion: _Answered | None
) -> ForwardTest:
    measured = measure_forward(found.pairs, found.movie_ids, found.answers)
    against = {}
    if champion is not None and not test.was_champion:
        since = max(found.since, champion.since)
        both = found.pairs.filter(pl.col("timestamp") > since)
        kind = id_type(both, champion.pairs)
        both, known = with_id_type(both, kind), with_id_type(champion.pairs, kind)
        both = both.join(known, on=PAIR, how="semi")
        if both.height:
            movie_ids = np.union1d(found.movie_ids, champion.movie_ids)
            lists = (_of_users(each.answers, both) for each in (found, champion))
            against = dict(compare_forward(both, movie_ids, *lists))
    return test.model_copy(
        update={
            "since": found.since,
            "ratings": found.pairs.height,
            "users": found.pairs["userId"].n_unique(),
            "new_users": found.new_users,
            "rows": measured.rows,
            "ranked_users": measured.ranked_users,
            "metrics": _beside_promises(release, measured),
            "against_champion": against,
            "problem": found.problem,
        }
    )


def _of_users(answers: ForwardAnswers, pairs: pl.DataFrame) -> ForwardAnswers:
    """Returns the answers for the users of these pairs."""
    users = pairs["userId"].unique().implode()
    lists = answers.recommendations.filter(pl.col("userId").is_in(users))
    return ForwardAnswers(answers.predictions, lists)


def _beside_promises(release: Release, measured: ForwardMetrics) -> dict[str, ForwardMetric]:
    metrics = None
    with suppress(PermanentError):
        metrics = release.metrics
    return {
        name: ForwardMetric(
            value=found.value,
            interval=(found.low, found.high),
            promised=promise[0],
            promised_interval=promise[1],
        )
        for name, found in measured.metrics.items()
        for promise in [promised(metrics, name)]
    }


def _note_decay(conn: Connection, run: Run, test: ForwardTest) -> None:
    if test.decays:
        reason = f"on ratings newer than its dataset, {'; '.join(test.decays)}"
        ledger.note_once(
            conn,
            Action.CHAMPION_DECAYED,
            actor=Actor.from_run(run.run_id, reason, "forward_test"),
            release_id=test.release_id,
            run_id=run.run_id,
            once=f"forward test of {test.release_id} on {test.dataset_md5}",
        )


def _in_words(test: ForwardTest) -> str:
    shown = ", ".join(f"{name} {found.value:.4f}" for name, found in test.metrics.items())
    measured = f"{test.ratings} newer ratings: {shown}" if test.metrics else ""
    what = "; ".join(filter(None, (measured, test.problem)))
    who = "champion" if test.was_champion else "former champion"
    return f"forward test of {test.release_id} ({who}): {what}"
