"""PostgreSQL: connections to the database with the ledger and the vectors."""

from recsys.database.address import InvalidAddressError, clean_address
from recsys.database.connection import connect
from recsys.database.session import Connection, long_statement
from recsys.database.settings import PostgresSettings

__all__ = [
    "Connection",
    "InvalidAddressError",
    "PostgresSettings",
    "clean_address",
    "connect",
    "long_statement",
]
