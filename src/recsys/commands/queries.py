"""Commands that ask the live release something."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from recsys import queries
from recsys.commands import output
from recsys.commands.output import JsonOption, console
from recsys.queries import Movie

CountOption = Annotated[int, typer.Option("--k", "-k", min=1, max=1000, help="How many.")]


def similar(
    movie: Annotated[str, typer.Argument(help='Title, part of one, or a movieId: "Toy Story".')],
    k: CountOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Movies like this one, by cosine of the live movie vectors."""
    with output.services() as services:
        release, found, neighbours = queries.similar(services, movie, k)
    if as_json:
        output.print_json(_document(release, neighbours, movie=vars(found)))
        return
    console.print(
        f"Movies like [bold]{output.safe(found.title)}[/]  (release {release['release_id']})"
    )
    print_movies(neighbours)


def recommend(
    user: Annotated[int, typer.Option("--user", "-u", help="A userId of the dataset.")],
    k: CountOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Movies for a user, by the live towers, without those already rated."""
    with output.services() as services:
        release, movies = queries.recommend(services, user, k)
    if as_json:
        output.print_json(_document(release, movies, user=user))
        return
    console.print(f"Movies for user [bold]{user}[/]  (release {release['release_id']})")
    print_movies(movies)


def print_movies(movies: list[Movie]) -> None:
    """Prints a ranked list."""
    listed = output.table(" ", "title", "genres", " score")
    for rank, movie in enumerate(movies, 1):
        score = "" if movie.score is None else f"{movie.score:.3f}"
        genres = ", ".join(movie.genres[:3])
        listed.add_row(str(rank), output.safe(movie.title), output.safe(genres), score)
    console.print(listed)


def _document(release: dict[str, Any], movies: list[Movie], **asked: Any) -> dict[str, Any]:
    return {
        "release_id": release["release_id"],
        **asked,
        "movies": [vars(movie) for movie in movies],
    }
