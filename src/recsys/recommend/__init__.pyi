from .catalog import Catalog, ScoredMovie
from .queries import (
    find_similar_movies,
    most_rated_movie,
    read_scale,
    recommend_for_cold_start,
    recommend_for_user,
)
from .reasons import MIN_COSINE, MOST_MOVIES, Reason, find_reasons
from .stars import predict_stars

__all__ = [
    "MIN_COSINE",
    "MOST_MOVIES",
    "Catalog",
    "Reason",
    "ScoredMovie",
    "find_reasons",
    "find_similar_movies",
    "most_rated_movie",
    "predict_stars",
    "read_scale",
    "recommend_for_cold_start",
    "recommend_for_user",
]
