from .archive import ArchiveLimits, DatasetArchive, open_dataset
from .credentials import SourceCredentials, credentials_for, environment_credentials
from .fetch import FetchedDataset, LocalDataset, fetch_dataset, obtain_dataset, read_source_md5
from .inflate import RAW_DEFLATE, inflated_size
from .layouts import MOVIE_COLUMNS, NO_GENRES, RATING_COLUMNS
from .mirrors import (
    has_login,
    needs_s3,
    redact_sources,
    source_secrets,
    split_sources,
    web_servers,
    without_md5,
)
from .progress import Progress
from .settings import DEFAULT_SOURCE, FetchSettings
from .synthetic import write_sample
from .zip_entries import MOVIES_CSV, RATINGS_CSV
from .zip_writer import write_dataset

__all__ = [
    "DEFAULT_SOURCE",
    "MOVIES_CSV",
    "MOVIE_COLUMNS",
    "NO_GENRES",
    "RATINGS_CSV",
    "RATING_COLUMNS",
    "RAW_DEFLATE",
    "ArchiveLimits",
    "DatasetArchive",
    "FetchSettings",
    "FetchedDataset",
    "LocalDataset",
    "Progress",
    "SourceCredentials",
    "credentials_for",
    "environment_credentials",
    "fetch_dataset",
    "has_login",
    "inflated_size",
    "needs_s3",
    "obtain_dataset",
    "open_dataset",
    "read_source_md5",
    "redact_sources",
    "source_secrets",
    "split_sources",
    "web_servers",
    "without_md5",
    "write_dataset",
    "write_sample",
]
