"""Commands that query the live release: `similar` and `recommend`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from recsys import recommend as ask
from recsys.cli import output
from recsys.cli.output import JsonOption, console

if TYPE_CHECKING:
    from recsys.recommend import ScoredMovie
    from recsys.services import Services

CountOption = Annotated[
    int,
    # --k and -k are the names of earlier versions.
    typer.Option("--limit", "-n", "--k", "-k", min=1, max=1000, help="Number of movies."),
]
_ALSO: Final = 5


def similar(
    movie: Annotated[str, typer.Argument(help='Title, part of one, or a movieId: "Toy Story".')],
    k: CountOption = 10,
    as_json: JsonOption = False,
) -> None:
    """List the movies most similar to one, by cosine similarity of the live movie vectors."""
    with output.services() as services:
        release, matches, neighbors = ask.find_similar_movies(services, movie, k)
    found, *others = matches
    if as_json:
        also = [vars(other) for other in others[:_ALSO]]
        output.print_json(_document(release, neighbors, movie=vars(found), also_matches=also))
        return
    console.print(
        f"Movies like [bold]{output.safe(found.title)}[/]  (release {release['release_id']})"
    )
    if others:
        more = f" and {len(others) - _ALSO:,} more" if len(others) > _ALSO else ""
        titles = "; ".join(other.title for other in others[:_ALSO])
        console.print(f"also matches: {output.safe(titles)}{more}", style="dim")
    print_movies(neighbors, "cosine")


def recommend(
    user: Annotated[
        int | None, typer.Option("--user", "-u", help="A userId of the dataset.")
    ] = None,
    rated: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead of --user: a rating of a new user, oldest first; may be repeated, e.g. "
            "--rated 'Toy Story=5' --rated 'Heat=2'."
        ),
    ] = None,
    k: CountOption = 10,
    stars: Annotated[
        bool | None,
        typer.Option(
            "--stars/--no-stars",
            help="Ask the live model for the stars of each movie, which takes a few seconds. "
            "Without either, it is asked where the trainer's environment is installed.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Recommend movies to a user of the dataset, or to a new user with a few ratings.

    Movies are in the order of the live towers, best first, or with --rated of the cosine to the
    rated movies times a power of the popularity (score in --json). Stars are what the live model
    predicts for the user, for whom the order says more. Movies that the user has rated are
    excluded. The last column names a similar movie of the user, with a genre in common and a cosine
    of 0.4 or more: one rated lately, or one of --rated with 3.5 stars or more. Ratings of another
    scale than stars are of that scale; 3.5 stars are 7 on a scale from 1 to 10.
    """
    if (user is None) == (not rated):
        raise typer.BadParameter("give either --user, or --rated at least once")
    if stars and user is None:
        raise typer.BadParameter("the model predicts for users of the dataset: give --user")
    if user is None:
        _recommend_for_cold_start([_rating(text) for text in rated or ()], k, as_json)
        return
    with output.services() as services:
        release, movies = ask.recommend_for_user(services, user, k)
        with services.connect() as conn:
            scale = ask.read_scale(conn, release["release_id"])
        if stars is not False:
            movies = _add_stars(services, release, user, movies, required=stars is True)
    if as_json:
        output.print_json(_document(release, movies, user=user, scale=scale.model_dump()))
        return
    console.print(f"Movies for user [bold]{user}[/]  (release {release['release_id']})")
    unit = "stars" if scale.is_stars else f"of {scale.max:g}"
    print_movies(movies, None if movies and movies[0].stars is None else unit)


def _add_stars(
    services: Services,
    release: dict[str, Any],
    user: int,
    movies: list[ScoredMovie],
    *,
    required: bool,
) -> list[ScoredMovie]:
    from recsys.errors import ConfigurationError, RecsysError
    from recsys.experiments import find_trainer

    trainer = find_trainer()
    try:
        with output.errors.status("asking the model for stars"):
            return ask.predict_stars(services, trainer, release["release_id"], user, movies)
    except RecsysError as error:
        if required:
            raise
        # The order of the movies is known without the model; a site's machine has no trainer.
        if not isinstance(error, ConfigurationError):
            output.errors.print(f"without stars: {output.safe(str(error))}", style="dim")
        return movies


def _recommend_for_cold_start(rated: list[tuple[str, float]], k: int, as_json: bool) -> None:
    from recsys.errors import InvalidRatingError

    with output.services() as services:
        try:
            release, named, movies = ask.recommend_for_cold_start(services, rated, k)
        except InvalidRatingError as error:
            raise typer.BadParameter(str(error), param_hint="--rated") from error
    if as_json:
        stars = {movie.movie_id: movie.score for movie in named}
        output.print_json(_document(release, movies, rated=stars))
        return
    titles = ", ".join(f"{movie.title} ({movie.score:g})" for movie in named)
    console.print(f"Movies for a user who rated [bold]{output.safe(titles)}[/]")
    console.print(f"(release {release['release_id']})")
    print_movies(movies, None)


def _rating(text: str) -> tuple[str, float]:
    from recsys import contract

    # A title may contain an equals sign.
    movie, _, number = text.rpartition("=")
    try:
        stars = float(number)
    except ValueError:
        stars = -1.0
    # The release knows its scale.
    if not movie or not 0 <= stars <= contract.LARGEST_RATING:
        raise typer.BadParameter(
            f"{text!r} is not a rating; expected MOVIE=STARS in the scale of the dataset, e.g. "
            "'Toy Story=5'",
            param_hint="--rated",
        )
    return movie, stars


def print_movies(
    movies: list[ScoredMovie], unit: str | None, *, one_line_each: bool = False
) -> None:
    """Prints a ranked list of movies.

    Args:
        movies: best first.
        unit: ``cosine``: the scores are; ``stars``, or ``of 10``, of a model; None: no numbers are
            shown, since an inner product of towers orders movies and says nothing else.
        one_line_each: cut long titles, so that a line has at most 80 characters; genres give way to
            reasons.
    """
    explained = any(movie.because for movie in movies)
    with_genres = not (explained and one_line_each)
    scored = unit is not None
    of_model = unit not in (None, "cosine")
    digits = 1 if of_model else 3
    texts = (
        "title",
        *["genres"] * with_genres,
        *[f" {unit}"] * scored,
        *["because of"] * explained,
    )
    shown = output.table(" ", *texts)
    title_width, reason_width = (40, 24) if one_line_each else (None, None)
    for rank, movie in enumerate(movies, 1):
        number = movie.stars if of_model else movie.score
        score = "" if number is None else f"{number:.{digits}f}"
        genres = ", ".join(movie.genres[:3])
        title = output.safe(_cut(movie.title, title_width))
        cells = [str(rank), title, *[output.safe(genres)] * with_genres, *[score] * scored]
        if explained:
            reason = movie.because.title if movie.because else ""
            cells.append(output.safe(_cut(reason, reason_width)))
        shown.add_row(*cells)
    console.print(shown)


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else f"{text[: width - 1]}…"


def _document(release: dict[str, Any], movies: list[ScoredMovie], **query: Any) -> dict[str, Any]:
    return {
        "release_id": release["release_id"],
        **query,
        "movies": [asdict(movie) for movie in movies],
    }
