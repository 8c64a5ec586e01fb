"""The object store: complete, verified reads and writes on any S3 server; its settings."""

from recsys.object_store.authorities import EXPECTED as EXPECTED_AUTHORITIES
from recsys.object_store.authorities import InvalidAuthoritiesError, trusted_file
from recsys.object_store.credentials import current_keys
from recsys.object_store.objects import ListedObject, StoredContent, StoredObject, file_sha256
from recsys.object_store.settings import S3Settings
from recsys.object_store.store import ObjectStore

__all__ = [
    "EXPECTED_AUTHORITIES",
    "InvalidAuthoritiesError",
    "ListedObject",
    "ObjectStore",
    "S3Settings",
    "StoredContent",
    "StoredObject",
    "current_keys",
    "file_sha256",
    "trusted_file",
]
