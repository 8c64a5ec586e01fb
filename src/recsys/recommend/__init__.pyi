from .catalogue import Catalogue, Movie
from .queries import best_known, recommend, recommend_to_newcomer, similar

__all__ = ["Catalogue", "Movie", "best_known", "recommend", "recommend_to_newcomer", "similar"]
