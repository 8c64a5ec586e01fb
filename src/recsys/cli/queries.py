"""Commands that ask the live release something."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from recsys import contract
from recsys import recommend as ask
from recsys.cli import output
from recsys.cli.output import JsonOption, console
from recsys.recommend import ScoredMovie

CountOption = Annotated[int, typer.Option("--k", "-k", min=1, max=1000, help="How many.")]


def similar(
    movie: Annotated[str, typer.Argument(help='Title, part of one, or a movieId: "Toy Story".')],
    k: CountOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Movies like this one, by cosine of the live movie vectors."""
    with output.services() as services:
        release, found, neighbours = ask.find_similar_movies(services, movie, k)
    if as_json:
        output.print_json(_document(release, neighbours, movie=vars(found)))
        return
    console.print(
        f"Movies like [bold]{output.safe(found.title)}[/]  (release {release['release_id']})"
    )
    print_movies(neighbours)


def recommend(
    user: Annotated[
        int | None, typer.Option("--user", "-u", help="A userId of the dataset.")
    ] = None,
    rated: Annotated[
        list[str] | None,
        typer.Option(
            help='Instead of a user, what a newcomer rated, oldest first: "Toy Story=5". Repeat it.'
        ),
    ] = None,
    k: CountOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Movies for a user or a newcomer, by the live towers, without those already rated."""
    if (user is None) == (not rated):
        raise typer.BadParameter("give either --user, or --rated once or more")
    if user is None:
        _recommend_for_cold_start([_rating(text) for text in rated or ()], k, as_json)
        return
    with output.services() as services:
        release, movies = ask.recommend_for_user(services, user, k)
    if as_json:
        output.print_json(_document(release, movies, user=user))
        return
    console.print(f"Movies for user [bold]{user}[/]  (release {release['release_id']})")
    print_movies(movies)


def _recommend_for_cold_start(rated: list[tuple[str, float]], k: int, as_json: bool) -> None:
    with output.services() as services:
        release, named, movies = ask.recommend_for_cold_start(services, rated, k)
    if as_json:
        stars = {movie.movie_id: movie.score for movie in named}
        output.print_json(_document(release, movies, rated=stars))
        return
    titles = ", ".join(f"{movie.title} ({movie.score:g})" for movie in named)
    console.print(f"Movies for one who rated [bold]{output.safe(titles)}[/]")
    console.print(f"(release {release['release_id']})")
    print_movies(movies)


def _rating(text: str) -> tuple[str, float]:
    # A title may hold an equals sign; the stars do not.
    movie, _, given = text.rpartition("=")
    try:
        stars = float(given)
    except ValueError:
        stars = 0.0
    if not movie or not contract.MIN_STARS <= stars <= contract.MAX_STARS:
        raise typer.BadParameter(
            f"{text!r} is no rating: a movie, =, and {contract.MIN_STARS} to "
            f"{contract.MAX_STARS:g} stars, e.g. 'Toy Story=5'",
            param_hint="--rated",
        )
    return movie, stars


def print_movies(movies: list[ScoredMovie]) -> None:
    """Prints a ranked list."""
    listed = output.table(" ", "title", "genres", " score")
    for rank, movie in enumerate(movies, 1):
        score = "" if movie.score is None else f"{movie.score:.3f}"
        genres = ", ".join(movie.genres[:3])
        listed.add_row(str(rank), output.safe(movie.title), output.safe(genres), score)
    console.print(listed)


def _document(release: dict[str, Any], movies: list[ScoredMovie], **asked: Any) -> dict[str, Any]:
    return {
        "release_id": release["release_id"],
        **asked,
        "movies": [vars(movie) for movie in movies],
    }
