"""The JSON API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from recsys_site import answers
from recsys_site.answers import MAX_RATINGS
from recsys_site.bundle import Live
from recsys_site.catalog import Movie
from recsys_site.parameters import MAX_ID, MAX_TEXT, Given

MovieId = Annotated[int, Path(ge=1, le=MAX_ID, description="as in the dataset")]
UserId = Annotated[int, Path(ge=1, le=MAX_ID, description="as in the dataset")]
Count = Annotated[int, Query(ge=1, le=50, description="how many movies")]


class MovieOut(BaseModel):
    """A movie."""

    movie_id: int
    title: str
    year: int | None
    genres: list[str]

    @classmethod
    def of(cls, movie: Movie) -> MovieOut:
        """The movie as the API shows it."""
        return cls(
            movie_id=movie.movie_id, title=movie.title, year=movie.year, genres=list(movie.genres)
        )


class ReleaseOut(BaseModel):
    """The release that answers now."""

    release_id: str
    dataset_md5: str
    model_sha256: str
    promoted_at: datetime
    answering_since: datetime
    state: str = Field(description="ready, or degraded: the last good release answers")


class MoviesOut(BaseModel):
    """Movies found, best match first."""

    release_id: str
    movies: list[MovieOut]


class MovieAnswer(BaseModel):
    """One movie."""

    release_id: str
    movie: MovieOut


class SimilarOut(BaseModel):
    """A movie like the one asked about."""

    movie: MovieOut
    cosine: float = Field(description="similarity of the movie vectors, at most 1")


class SimilarAnswer(BaseModel):
    """Movies like one, nearest first; none if nobody has rated it yet."""

    release_id: str
    movie: MovieOut
    similar: list[SimilarOut]


class RecommendationOut(BaseModel):
    """A movie for somebody."""

    movie: MovieOut
    score: float = Field(description="inner product of the towers: the order")
    stars: float = Field(description="what the model expects the user to give, 0.5 to 5")
    because: MovieOut | None = Field(description="a liked movie that this one is similar to")


class RecommendationsAnswer(BaseModel):
    """Movies for somebody, best first."""

    release_id: str
    recommendations: list[RecommendationOut]


class RatingIn(BaseModel):
    """What a newcomer gives one movie."""

    model_config = ConfigDict(extra="forbid")

    movie_id: int = Field(ge=1, le=MAX_ID)
    stars: float = Field(ge=0.5, le=5, multiple_of=0.5)


class NewcomerIn(BaseModel):
    """What a newcomer has rated; of two ratings of one movie the later holds."""

    model_config = ConfigDict(extra="forbid")

    ratings: list[RatingIn] = Field(min_length=1, max_length=MAX_RATINGS)
    count: int = Field(default=12, ge=1, le=50, description="how many movies")


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str


UNAVAILABLE: dict[int | str, dict[str, Any]] = {
    503: {"model": Problem, "description": "Nothing can answer now; try again soon."}
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "The release does not know this id."}
}
BAD_BODY: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body is not JSON."},
    413: {"model": Problem, "description": "The body is too long."},
}

router = APIRouter(prefix="/api", responses=UNAVAILABLE)


@router.get("/release", tags=["release"])
def release(given: Given) -> ReleaseOut:
    """The release that answers now."""
    live = given.live
    return ReleaseOut(
        release_id=live.release_id,
        dataset_md5=live.dataset_md5,
        model_sha256=live.model_sha256,
        promoted_at=live.promoted_at,
        answering_since=live.model.loaded_at,
        state=given.state,
    )


@router.get("/movies", tags=["movies"])
def search(
    given: Given,
    q: Annotated[str, Query(max_length=MAX_TEXT, description="words of a title, a year")] = "",
    count: Count = 12,
) -> MoviesOut:
    """Movies by words; without any, the best known ones."""
    live = given.live
    catalog = live.model.catalog
    found = catalog.search(q, count) if q.strip() else catalog.best_known(count)
    return MoviesOut(release_id=live.release_id, movies=[MovieOut.of(movie) for movie in found])


@router.get("/movies/{movie_id}", tags=["movies"], responses=NOT_FOUND)
def movie(given: Given, movie_id: MovieId) -> MovieAnswer:
    """One movie."""
    live = given.live
    return MovieAnswer(release_id=live.release_id, movie=MovieOut.of(_known(live, movie_id)))


@router.get("/movies/{movie_id}/similar", tags=["movies"], responses=NOT_FOUND)
def similar(given: Given, movie_id: MovieId, count: Count = 12) -> SimilarAnswer:
    """Movies like one."""
    live = given.live
    asked = _known(live, movie_id)
    with given.connection() as conn:
        found = answers.similar(conn, live, movie_id, count)
    return SimilarAnswer(
        release_id=live.release_id,
        movie=MovieOut.of(asked),
        similar=[SimilarOut(movie=MovieOut.of(near.movie), cosine=near.cosine) for near in found],
    )


@router.get("/users/{user_id}/recommendations", tags=["recommendations"], responses=NOT_FOUND)
def for_user(given: Given, user_id: UserId, count: Count = 12) -> RecommendationsAnswer:
    """Movies for a user of the dataset."""
    live = given.live
    try:
        with given.connection() as conn:
            found = answers.for_user(conn, live, user_id, count)
    except answers.UnknownUserError:
        raise HTTPException(404, f"no user {user_id} in release {live.release_id}") from None
    return _recommendations(live, found.recommendations)


@router.post("/recommendations", tags=["recommendations"], responses=BAD_BODY)
def for_newcomer(given: Given, newcomer: NewcomerIn) -> RecommendationsAnswer:
    """Movies for somebody who has rated a few; ids that the release does not know tell nothing."""
    live = given.live
    ratings = {rating.movie_id: rating.stars for rating in newcomer.ratings}
    with given.connection() as conn:
        found = answers.for_newcomer(conn, live, list(ratings.items()), newcomer.count)
    return _recommendations(live, found)


def _known(live: Live, movie_id: int) -> Movie:
    found = live.model.catalog.get(movie_id)
    if found is None:
        raise HTTPException(404, f"no movie {movie_id} in release {live.release_id}")
    return found


def _recommendations(live: Live, found: list[answers.Recommendation]) -> RecommendationsAnswer:
    return RecommendationsAnswer(
        release_id=live.release_id,
        recommendations=[
            RecommendationOut(
                movie=MovieOut.of(one.movie),
                score=one.score,
                stars=one.stars,
                because=MovieOut.of(one.because) if one.because else None,
            )
            for one in found
        ],
    )
