"""Recommendations that the trainer records, so that the served tables can be compared with them."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, model_validator

from recsys.contract.ids import LARGEST_ID
from recsys.contract.keys import FrozenModel

GOLDEN_USERS: Final = 200
GOLDEN_DEPTH: Final = 10

_Id = Annotated[int, Field(ge=-LARGEST_ID, le=LARGEST_ID)]


class GoldenRecommendations(FrozenModel):
    """The best movies of the served towers for a sample of users, found by exact search.

    Movies that the user has rated are left out, those of the holdout too.

    Attributes:
        user_ids: at most `GOLDEN_USERS` users of the dataset.
        movie_ids: for each of them at most `GOLDEN_DEPTH` movies, best first.
    """

    user_ids: list[_Id] = Field(min_length=1, max_length=GOLDEN_USERS)
    movie_ids: list[Annotated[list[_Id], Field(min_length=1, max_length=GOLDEN_DEPTH)]] = Field(
        min_length=1, max_length=GOLDEN_USERS
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> GoldenRecommendations:
        if len(self.user_ids) != len(self.movie_ids):
            raise ValueError("user_ids and movie_ids differ in length")
        if len(set(self.user_ids)) != len(self.user_ids):
            raise ValueError("a user occurs twice")
        if any(len(set(movies)) != len(movies) for movies in self.movie_ids):
            raise ValueError("a movie is recommended to a user twice")
        return self

    def by_user(self) -> dict[int, list[int]]:
        """Returns the movies of each user, best first."""
        return dict(zip(self.user_ids, self.movie_ids, strict=True))
