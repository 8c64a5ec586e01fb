"""Hooks of the recommender's bucket and database, and of both together.

Connections are read by `recsys_dag.connections`, as the pipeline's own DAGs read them: those of
Airflow's types ``aws`` and ``postgres`` serve as well as those of the provider's types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseHook

from recsys_dag import connections
from recsys_dag.assets import RECOMMENDER
from recsys_dag.connections import (
    PG_CONN_ID,
    READ_ONLY,
    S3_CONN_ID,
    STORE_CONN_TYPE,
    VECTORS_CONN_TYPE,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from recsys.database import Connection
    from recsys.ledger import LiveRelease
    from recsys.monitoring import ConnectionCheck
    from recsys.object_store import ObjectStore
    from recsys.recommend import ScoredMovie
    from recsys.services import Services

_TRUE: Final = frozenset({"true", "1", "yes", "on"})


class RecommenderStoreHook(BaseHook):
    """The bucket of a recommender.

    Args:
        store_conn_id: the Connection.
        recommender: name of the recommender; keys of all but the first are below ``<name>/``.
    """

    conn_name_attr = "store_conn_id"
    default_conn_name = S3_CONN_ID
    conn_type = STORE_CONN_TYPE
    hook_name = "Recommender store (S3)"

    def __init__(
        self,
        store_conn_id: str = default_conn_name,
        recommender: str = RECOMMENDER,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.store_conn_id = store_conn_id
        self.recommender = recommender

    def get_conn(self) -> ObjectStore:
        """Returns the bucket; opens no connection yet."""
        from recsys.object_store import ObjectStore

        return ObjectStore.connect(connections.s3_of_name(self.recommender, self.store_conn_id))

    def test_connection(self) -> tuple[bool, str]:
        """Writes, reads and deletes an object below a random key; Airflow's Test button calls it.

        With a Connection that is read only, it reads the pointer to the live release.

        Returns:
            Whether all worked, and what was tried, found and is to be done.
        """
        from recsys.monitoring import bucket_probe, check_connection

        writes = not _reads_only(self, self.store_conn_id)
        probe = bucket_probe(lambda: connections.s3_settings(self.store_conn_id), writes=writes)
        return _answer(check_connection(self.hook_name, probe))


class RecommenderVectorsHook(BaseHook):
    """The database with the ledger and the vectors of a recommender.

    Args:
        vectors_conn_id: the Connection.
        recommender: name of the recommender; all but the first have a database of this name.
    """

    conn_name_attr = "vectors_conn_id"
    default_conn_name = PG_CONN_ID
    conn_type = VECTORS_CONN_TYPE
    hook_name = "Recommender vectors (pgvector)"

    def __init__(
        self,
        vectors_conn_id: str = default_conn_name,
        recommender: str = RECOMMENDER,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.vectors_conn_id = vectors_conn_id
        self.recommender = recommender

    def get_conn(self) -> AbstractContextManager[Connection]:
        """Opens a connection in autocommit mode; use it in ``with``, which closes it."""
        from recsys import database

        settings = connections.postgres_of_name(self.recommender, self.vectors_conn_id)
        return database.connect(settings)

    def live_release(self) -> LiveRelease | None:
        """Returns the release that readers see; None before the first promotion."""
        from recsys import ledger

        with self.get_conn() as conn:
            return ledger.live_release(conn)

    def test_connection(self) -> tuple[bool, str]:
        """Queries the nearest of vectors, also of the live ones; Airflow's Test button calls it.

        Unless the Connection is read only, it also tries what the pipeline's account must be able
        to do, in a transaction that is rolled back.

        Returns:
            Whether all worked, and what was tried, found and is to be done.
        """
        from recsys.monitoring import check_connection, database_probe

        writes = not _reads_only(self, self.vectors_conn_id)
        probe = database_probe(
            lambda: connections.postgres_settings(self.vectors_conn_id), writes=writes
        )
        return _answer(check_connection(self.hook_name, probe))


class RecommenderHook(BaseHook):
    """A recommender: its bucket and its database.

    Args:
        store_conn_id: the Connection of the bucket.
        vectors_conn_id: the Connection of the database.
        recommender: name of the recommender.
    """

    def __init__(
        self,
        store_conn_id: str = S3_CONN_ID,
        vectors_conn_id: str = PG_CONN_ID,
        recommender: str = RECOMMENDER,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.store_conn_id = store_conn_id
        self.vectors_conn_id = vectors_conn_id
        self.recommender = recommender

    def get_conn(self) -> Services:
        """Returns both servers; opens no connection yet."""
        return connections.services(self.vectors_conn_id, self.store_conn_id, self.recommender)

    def recommend(self, user_id: int, count: int = 10) -> list[ScoredMovie]:
        """Returns recommendations of the live release for a user of its dataset, best first.

        Args:
            user_id: id of the user in the dataset.
            count: number of movies.

        Raises:
            UnknownIdError: the user is not in the dataset.
            LedgerError: nothing was promoted yet.
        """
        from recsys.recommend import recommend_for_user

        return recommend_for_user(self.get_conn(), user_id, count)[1]


def _reads_only(hook: BaseHook, conn_id: str) -> bool:
    # In a Connection that is written as a URI, every value is a text.
    value = hook.get_connection(conn_id).extra_dejson.get(READ_ONLY)
    return str(value).strip().lower() in _TRUE


def _answer(checked: ConnectionCheck) -> tuple[bool, str]:
    return checked.works, str(checked)
