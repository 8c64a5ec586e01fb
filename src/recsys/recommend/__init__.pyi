from .catalog import Catalog, ScoredMovie
from .queries import (
    find_similar_movies,
    most_rated_movie,
    recommend_for_cold_start,
    recommend_for_user,
)

__all__ = [
    "Catalog",
    "ScoredMovie",
    "find_similar_movies",
    "most_rated_movie",
    "recommend_for_cold_start",
    "recommend_for_user",
]
