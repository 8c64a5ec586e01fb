"""What `recsys demo` shows of a run that succeeded: one screen, and more on request."""

from __future__ import annotations

import shlex
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from recsys import ledger, monitoring, recommend
from recsys.cli import output
from recsys.cli.data import print_data
from recsys.cli.metrics_table import print_metrics
from recsys.cli.output import console
from recsys.cli.queries import print_movies
from recsys.cli.release_views import print_decision
from recsys.cli.report import save
from recsys.embedded.home import source_folder
from recsys.errors import RecsysError, TransientError

if TYPE_CHECKING:
    from recsys.contract import Metrics
    from recsys.services import Services

_KNOWN_MOVIES: Final = ("Toy Story (1995)", "Matrix, The (1999)")
_SHOWN_MOVIES: Final = 3
_MAX_NAME: Final = 30
_SITE: Final = "site/.venv"


def print_details(services: Services, *, judged: bool) -> None:
    """Prints the gate's decision with its rules, all metrics, quarantine and drift.

    Args:
        services: PostgreSQL and S3.
        judged: whether the run judged a candidate; else its reason says all.
    """
    release_id, candidate = _judged_release(services) if judged else (None, None)
    if release_id is None or candidate is None:
        return
    found = monitoring.why(services, release_id)
    print_decision(found["decision"])
    console.print("\nmetrics on the holdout (each user's newest ratings)")
    print_metrics(candidate, None)
    if found["data"]:
        console.print(f"\ndataset [bold]{found['data']['md5']}[/]")
        print_data(found["data"])
    console.print()


def print_summary(services: Services, *, judged: bool) -> None:
    """Prints the live release, its quality and its recommendations, and how to go on."""
    live = monitoring.read_status(services)["champion"]
    release_id, candidate = _judged_release(services) if judged else (None, None)
    if live is None:
        _print_fact("live", "nothing yet")
    else:
        since = f"{live['promoted_at'].astimezone(UTC):%Y-%m-%d %H:%M %Z}"
        _print_fact("live", f"[bold green]{live['release_id']}[/]  since {since}")
    if release_id and candidate:
        found = monitoring.why(services, release_id)
        if live is None or live["release_id"] != release_id:
            _print_fact("this run", f"{release_id}, {found['release']['state']}")
        _print_fact("gate", _rules(found["decision"]))
        _print_fact("quality", _quality(candidate))
        if found["data"]:
            _print_fact("dataset", _dataset(found["data"]))
        path = save(services, release_id, again=False)
        _print_fact("report", output.safe(output.short_path(path)))
    elif live is not None:
        _print_fact("dataset", f"md5 {live['dataset_md5']}")
    named = _KNOWN_MOVIES[0].partition(" (")[0]
    if live is not None:
        try:
            named = _print_movies(services)
        except RecsysError as error:
            output.print_error(error)
    print_next_steps(named)


def _print_fact(label: str, markup: str) -> None:
    # No table: it would cut a path that is longer than the line, and then nobody could open it.
    console.print(f"{label:<8} {markup}", soft_wrap=True, highlight=False)


def _judged_release(services: Services) -> tuple[str | None, Metrics | None]:
    with services.connect() as conn:
        release_id = ledger.last_decided_release(conn)
        manifest = ledger.get(conn, release_id).complete_manifest if release_id else None
    return release_id, manifest.metrics if manifest else None


def _rules(decision: dict[str, Any]) -> str:
    passed = sum(rule["passed"] for rule in decision["rules"])
    colour, word = ("green", "accepted") if decision["accepted"] else ("red", "rejected")
    # An accepted release can fail rules that only inform, e.g. of drift.
    binding = sum(rule["binding"] for rule in decision["rules"] if not rule["passed"])
    informing = len(decision["rules"]) - passed - binding
    more = f"; {informing} only inform{'s' * (informing == 1)}" if informing else ""
    return f"[{colour}]{word}[/]: {passed} of {len(decision['rules'])} rules passed{more}"


def _quality(metrics: Metrics) -> str:
    """Returns the metrics that a person looks at first, beside the best of the baselines'."""
    baselines = metrics.baselines.by_name()
    parts = []
    for key, label, best in (("rmse", "RMSE", min), ("ndcg@10", "NDCG@10", max)):
        value = metrics.model.value(key)
        if value is None:
            continue
        known = [
            (other, name)
            for name, scores in baselines.items()
            if (other := scores.value(key)) is not None
        ]
        against = ""
        if known:
            other, name = best(known)
            against = f" ({name} {other:.3f})"
        parts.append(f"{label} {value:.3f}{against}")
    return ", ".join(parts) or "not measured"


def _dataset(data: dict[str, Any]) -> str:
    counts = [
        f"{found['rows']:,} {file.removesuffix('.csv')}"
        for file, found in sorted(data["files"].items(), reverse=True)
    ]
    quarantined = sum(found["quarantined"] for found in data["files"].values())
    return output.safe(f"{', '.join(counts)}; {quarantined:,} rows in quarantine")


def _print_movies(services: Services) -> str:
    """Prints neighbors and recommendations; returns the name of the movie with the neighbors."""
    _, [movie, *_], neighbors = _known_movie(services)
    console.print(f"\nmovies like [bold]{output.safe(movie.title)}[/]")
    print_movies(neighbors[:_SHOWN_MOVIES], "cosine", one_line_each=True)
    _, movies = recommend.recommend_for_user(services, 1, _SHOWN_MOVIES)
    console.print("movies for user [bold]1[/]")
    # A score of the towers is no stars, and tells a reader nothing.
    print_movies(movies, None, one_line_each=True)
    return _name(movie)


def _name(movie: recommend.ScoredMovie) -> str:
    """Returns what to ask for a movie: its title without the year, or its id if that is long."""
    title = movie.title.partition(" (")[0]
    return title if len(title) <= _MAX_NAME else str(movie.movie_id)


def print_next_steps(movie: str) -> None:
    """Prints three commands, each on one line whatever the length of the path to `recsys`.

    Args:
        movie: a movie to ask for, as `recsys similar` takes it.
    """
    name = output.command()
    root = source_folder()
    up = (f"{name} up", "start Airflow's UI, the site, PostgreSQL and S3")
    if (root / "Makefile").is_file() and not (root / _SITE).exists():
        up = ("make up", "set up the site, start it with Airflow's UI")
    steps = (
        (f"{name} why", "why it is live: rules, data, history"),
        (f"{name} similar {shlex.quote(movie)}", "ask it"),
        up,
    )
    console.print("\nnext steps:")
    widest = max(len(line) for line, _ in steps)
    for line, what in steps:
        row = f"  {line:<{widest}}  {what}"
        # A command that is broken into lines cannot be copied, and the summary is one screen:
        # where the path to the command is long, the commands stand alone.
        shown = row if len(row) <= console.width else f"  {line}"
        console.print(output.safe(shown), soft_wrap=True, highlight=False)


def _known_movie(
    services: Services,
) -> tuple[dict[str, Any], list[recommend.ScoredMovie], list[recommend.ScoredMovie]]:
    """Returns the neighbors of a well-known movie, else of the one with most ratings."""
    for title in _KNOWN_MOVIES:
        try:
            return recommend.find_similar_movies(services, title, 10)
        except TransientError:
            raise
        except RecsysError:
            continue
    return recommend.find_similar_movies(services, str(recommend.most_rated_movie(services)), 10)
