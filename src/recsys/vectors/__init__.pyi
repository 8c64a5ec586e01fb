from .check import CHECKED_QUERIES, VectorMeasurements, check_vectors
from .content import content_is_as_loaded, write_table
from .index import EF_CONSTRUCTION
from .movie_vectors import MovieVectors, compute_movie_vectors, make_movie_vectors
from .quality import measure_quality
from .rows import digest_of_vectors, read_vectors
from .search import (
    cosines_to,
    nearest_by_cosine,
    nearest_to_movie,
    nearest_to_user,
    relation_identifier,
)
from .stored import obtain_movie_vectors, put_movie_vectors, stored_movie_vectors
from .stored_tables import StoredTable, stored_tables
from .tables import drop_vectors, enable_vector_extension, load_vectors

__all__ = [
    "CHECKED_QUERIES",
    "EF_CONSTRUCTION",
    "MovieVectors",
    "StoredTable",
    "VectorMeasurements",
    "check_vectors",
    "compute_movie_vectors",
    "content_is_as_loaded",
    "cosines_to",
    "digest_of_vectors",
    "drop_vectors",
    "enable_vector_extension",
    "load_vectors",
    "make_movie_vectors",
    "measure_quality",
    "nearest_by_cosine",
    "nearest_to_movie",
    "nearest_to_user",
    "obtain_movie_vectors",
    "put_movie_vectors",
    "read_vectors",
    "relation_identifier",
    "stored_movie_vectors",
    "stored_tables",
    "write_table",
]
