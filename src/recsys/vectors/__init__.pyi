from .check import VectorReport, check_vectors
from .index import EF_CONSTRUCTION
from .movie_vectors import MovieVectors, make_movie_vectors
from .quality import measure_quality
from .rows import read_vectors
from .search import recommend, recommend_to, relation_identifier, similar
from .stored import put_movie_vectors, stored_movie_vectors, take_movie_vectors
from .tables import drop_vectors, enable_vector_extension, load_vectors

__all__ = [
    "EF_CONSTRUCTION",
    "MovieVectors",
    "VectorReport",
    "check_vectors",
    "drop_vectors",
    "enable_vector_extension",
    "load_vectors",
    "make_movie_vectors",
    "measure_quality",
    "put_movie_vectors",
    "read_vectors",
    "recommend",
    "recommend_to",
    "relation_identifier",
    "similar",
    "stored_movie_vectors",
    "take_movie_vectors",
]
