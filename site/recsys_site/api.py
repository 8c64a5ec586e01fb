"""The JSON API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from recsys_site import answers
from recsys_site.answers import MAX_RATINGS
from recsys_site.bundle import Live
from recsys_site.catalog import Movie, SearchResult
from recsys_site.parameters import MAX_TEXT, InjectedReleases
from recsys_site.scale import LARGEST_RATING, STEP

# Without a maximum, because descriptions of APIs have it as a float, which cannot be 2**63 - 1.
MovieId = Annotated[int, Path(ge=1, description="as in the dataset")]
UserId = Annotated[int, Path(ge=1, description="as in the dataset")]
Count = Annotated[int, Query(ge=1, le=50, description="number of movies")]


class MovieOut(BaseModel):
    """A movie."""

    movie_id: int | str = Field(
        description="a number; text if the dataset has ids of 64 bits, which JavaScript rounds"
    )
    title: str
    year: int | None
    genres: list[str]
    other_titles: list[str] = Field(description="other titles, such as the original one")

    @classmethod
    def of(cls, movie: Movie, live: Live) -> MovieOut:
        """Converts a movie of a release to its form in the API."""
        return cls(
            movie_id=str(movie.movie_id) if live.model.ids_as_text else movie.movie_id,
            title=movie.title,
            year=movie.year,
            genres=list(movie.genres),
            other_titles=list(movie.other_titles),
        )


class ReleaseOut(BaseModel):
    """The release that the site uses now."""

    release_id: str
    dataset_md5: str
    model_sha256: str
    promoted_at: datetime
    answering_since: datetime
    state: str = Field(description="ready, or degraded: the site uses the last good release")


class MoviesOut(BaseModel):
    """Search results, best match first."""

    release_id: str
    movies: list[MovieOut]
    approximate: bool = Field(description="no title contains all words; these contain similar ones")


class MovieAnswer(BaseModel):
    """One movie."""

    release_id: str
    movie: MovieOut


class SimilarOut(BaseModel):
    """A movie similar to the requested one."""

    movie: MovieOut
    cosine: float = Field(description="similarity of the movie vectors, at most 1")


class SimilarAnswer(BaseModel):
    """Similar movies, nearest first; empty if nobody has rated the movie yet."""

    release_id: str
    movie: MovieOut
    similar: list[SimilarOut]


class RecommendationOut(BaseModel):
    """A recommended movie."""

    movie: MovieOut
    score: float = Field(
        description="the sort order: for a user the inner product of the towers, for ratings the "
        "cosine to them times a power of the movie's popularity"
    )
    stars: float = Field(
        description="rating that the model predicts for the user, in the scale of the dataset: "
        "stars, 0.5 to 5, or such as 1 to 10"
    )
    because: MovieOut | None = Field(
        description="a movie that the user liked and that this one is similar to"
    )


class RecommendationsAnswer(BaseModel):
    """Recommendations, best first."""

    release_id: str
    recommendations: list[RecommendationOut]


ExactNumber = Annotated[int, Field(ge=1, le=2**53 - 1)]
Digits = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,18}$")]


class RatingIn(BaseModel):
    """A rating of one movie."""

    model_config = ConfigDict(extra="forbid")

    movie_id: ExactNumber | Digits = Field(
        description="a number, or its digits as text: JavaScript rounds numbers above 2**53"
    )
    stars: float = Field(
        ge=0,
        le=LARGEST_RATING,
        multiple_of=STEP,
        description="in the scale of the dataset: stars, 0.5 to 5, or such as 1 to 10",
    )


class RatingsIn(BaseModel):
    """Ratings of a cold-start user; if a movie occurs twice, the later rating counts."""

    model_config = ConfigDict(extra="forbid")

    ratings: list[RatingIn] = Field(min_length=1, max_length=MAX_RATINGS)
    count: int = Field(default=12, ge=1, le=50, description="number of movies")


class InvalidPart(BaseModel):
    """A part of a request that is invalid."""

    at: str = Field(description="where it is, such as query.count")
    problem: str


class Problem(BaseModel):
    """Reason why the request failed: problem details as in RFC 9457."""

    type: str = Field(description="about:blank: the status says it all")
    title: str = Field(description="the phrase of the status")
    status: int
    detail: str = Field(description="what is wrong with this request")
    errors: list[InvalidPart] | None = Field(default=None, description="of an invalid request")


UNAVAILABLE: dict[int | str, dict[str, Any]] = {
    503: {"model": Problem, "description": "No release is available now; try again soon."}
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "The release has no such id."}
}
BAD_BODY: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body is not JSON."},
    409: {"model": Problem, "description": "A rating is outside of the scale of the release."},
    413: {"model": Problem, "description": "The body is too long."},
}

router = APIRouter(prefix="/api", responses=UNAVAILABLE)


@router.get("/release", tags=["release"])
def release(releases: InjectedReleases) -> ReleaseOut:
    """Return the release that the site uses now."""
    live = releases.live
    return ReleaseOut(
        release_id=live.release_id,
        dataset_md5=live.dataset_md5,
        model_sha256=live.model_sha256,
        promoted_at=live.promoted_at,
        answering_since=live.model.loaded_at,
        state=releases.state,
    )


@router.get("/movies", tags=["movies"])
def search(
    releases: InjectedReleases,
    q: Annotated[str, Query(max_length=MAX_TEXT, description="words of a title, or a year")] = "",
    count: Count = 12,
) -> MoviesOut:
    """Search movies by title and year; without words, list the most rated ones."""
    live = releases.live
    catalog = live.model.catalog
    found = catalog.search(q, count) if q.strip() else SearchResult(catalog.most_rated(count))
    return MoviesOut(
        release_id=live.release_id,
        movies=[MovieOut.of(movie, live) for movie in found.movies],
        approximate=found.approximate,
    )


@router.get("/movies/{movie_id}", tags=["movies"], responses=NOT_FOUND)
def movie(releases: InjectedReleases, movie_id: MovieId) -> MovieAnswer:
    """Return one movie."""
    live = releases.live
    return MovieAnswer(
        release_id=live.release_id, movie=MovieOut.of(_find_movie(live, movie_id), live)
    )


@router.get("/movies/{movie_id}/similar", tags=["movies"], responses=NOT_FOUND)
def similar(releases: InjectedReleases, movie_id: MovieId, count: Count = 12) -> SimilarAnswer:
    """List the movies most similar to one."""
    live = releases.live
    requested = _find_movie(live, movie_id)
    with releases.connection() as conn:
        nearest = answers.similar_movies(conn, live, movie_id, count)
    return SimilarAnswer(
        release_id=live.release_id,
        movie=MovieOut.of(requested, live),
        similar=[
            SimilarOut(movie=MovieOut.of(near.movie, live), cosine=near.cosine) for near in nearest
        ],
    )


@router.get("/users/{user_id}/recommendations", tags=["recommendations"], responses=NOT_FOUND)
def for_user(
    releases: InjectedReleases, user_id: UserId, count: Count = 12
) -> RecommendationsAnswer:
    """Recommend movies for a user of the dataset."""
    live = releases.live
    try:
        with releases.connection() as conn:
            answer = answers.recommend_for_user(conn, live, user_id, count)
    except answers.UnknownUserError:
        raise HTTPException(404, f"no user {user_id} in release {live.release_id}") from None
    return _recommendations(live, answer.recommendations)


@router.post("/recommendations", tags=["recommendations"], responses=BAD_BODY)
def for_ratings(releases: InjectedReleases, body: RatingsIn) -> RecommendationsAnswer:
    """Recommend movies for someone who is not in the dataset, from a few ratings.

    Ids that the release does not contain are ignored.
    """
    live = releases.live
    _check_scale(live, body.ratings)
    ratings = {int(rating.movie_id): rating.stars for rating in body.ratings}
    with releases.connection() as conn:
        best = answers.recommend_for_ratings(conn, live, list(ratings.items()), body.count)
    return _recommendations(live, best)


def _check_scale(live: Live, ratings: list[RatingIn]) -> None:
    # The description of the API cannot name the scale: another release may have another one.
    scale = live.model.scale
    for number, rating in enumerate(ratings):
        if not scale.contains(rating.stars):
            raise HTTPException(
                409,
                f"ratings.{number}.stars is {rating.stars:g}; ratings of release {live.release_id} "
                f"are {scale.min:g} to {scale.max:g}",
            )


def _find_movie(live: Live, movie_id: int) -> Movie:
    movie = live.model.catalog.get(movie_id)
    if movie is None:
        raise HTTPException(404, f"no movie {movie_id} in release {live.release_id}")
    return movie


def _recommendations(live: Live, best: list[answers.Recommendation]) -> RecommendationsAnswer:
    return RecommendationsAnswer(
        release_id=live.release_id,
        recommendations=[
            RecommendationOut(
                movie=MovieOut.of(one.movie, live),
                score=one.score,
                stars=one.stars,
                because=MovieOut.of(one.because, live) if one.because else None,
            )
            for one in best
        ],
    )
