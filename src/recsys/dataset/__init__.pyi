from .archive import (
    MOVIE_COLUMNS,
    MOVIES_CSV,
    NO_GENRES,
    RATING_COLUMNS,
    RATINGS_CSV,
    ArchiveLimits,
    DatasetArchive,
    open_dataset,
)
from .download import Download
from .fetch import FetchedDataset, fetch_dataset, read_source_md5
from .mirrors import find_sources, first_that_works, shown_sources, split_sources
from .progress import Progress
from .settings import DEFAULT_SOURCE, FetchSettings
from .sources import Source
from .synthetic import write_sample

__all__ = [
    "DEFAULT_SOURCE",
    "MOVIES_CSV",
    "MOVIE_COLUMNS",
    "NO_GENRES",
    "RATINGS_CSV",
    "RATING_COLUMNS",
    "ArchiveLimits",
    "DatasetArchive",
    "Download",
    "FetchSettings",
    "FetchedDataset",
    "Progress",
    "Source",
    "fetch_dataset",
    "find_sources",
    "first_that_works",
    "open_dataset",
    "read_source_md5",
    "shown_sources",
    "split_sources",
    "write_sample",
]
