"""Servers with releases that need no training, for DAGs that promote, roll back or wait."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from recsys import ledger, vectors
from recsys.contract import MOVIES_FILE, titles_key
from recsys.database import PostgresSettings
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.releases import promote_release
from recsys.services import Services
from tests.actors import an_actor
from tests.conftest import fresh_bucket, fresh_database
from tests.e2e.conftest import Outcome, Pipeline, connections
from tests.release_maker import Releases

STORE, VECTORS = "AIRFLOW_CONN_RECSYS_S3", "AIRFLOW_CONN_RECSYS_PG_VECTOR_BACKEND"


class World:
    """Servers with candidates; each is accepted when it is needed."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.releases = Releases(services)
        self.candidates = [self.releases.candidate(number) for number in (1, 2, 3)]
        for number in (1, 2, 3):
            build = self.releases.build(number)
            self.releases.put_features(number)
            # Readers find the titles under the dataset's key, whatever made the features.
            movies = services.store.get_bytes(build.features_key(MOVIES_FILE))
            services.store.put_bytes(titles_key(build.dataset_md5), movies)

    @property
    def champion(self) -> str | None:
        with self.services.connect() as conn:
            champion = ledger.champion(conn)
        return champion.release_id if champion else None

    def run(self, dag: Any, retries: int = 0, **conf: Any) -> Outcome:
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

        # Airflow finds the DAGs of its own folder only.
        bag = DagBag(dag.fileloc)
        assert bag.import_errors == {}
        DagBundlesManager().sync_bundles_to_db()
        with pytest.MonkeyPatch.context() as patched:
            for task in dag.tasks:
                # A task that fails would otherwise be tried again after five minutes.
                patched.setattr(task, "retries", retries)
                patched.setattr(task, "retry_delay", timedelta(seconds=0.1))
            sync_bag_to_db(bag, "dags-folder", None)
            return Pipeline(self.services).run_dag(dag, conf)

    def promote(self, number: int) -> None:
        self.releases.judge(self.candidates[number])
        promote_release(self.services, self.candidates[number], actor=an_actor())


@contextmanager
def release_world(postgres_server: Postgres, s3_server: S3) -> Iterator[World]:
    """A `World` whose first candidate is the champion."""
    with fresh_database(postgres_server) as dsn, fresh_bucket(s3_server) as s3:
        yield prepared_world(Services(postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=s3))


def prepared_world(services: Services) -> World:
    """The same on servers that are empty."""
    with services.connect() as conn:
        vectors.enable_vector_extension(conn)
        ledger.prepare(conn)
    made = World(services)
    made.promote(0)
    return made


def release_events(recommender: str = "movie_rec_sys") -> list[dict[str, Any]]:
    """What Airflow's database has of the asset of a recommender's releases, oldest first."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalars(
            select(AssetEvent.extra)
            .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
            .where(AssetModel.name == f"recsys_release/{recommender}")
            .order_by(AssetEvent.id)
        )
        return [dict(extra) for extra in found]


def of_provider(services: Services, **extra: Any) -> dict[str, str]:
    """The Connections of the provider's types, as the form stores them, as environment variables.

    Args:
        services: where they lead.
        extra: further fields of both extras.
    """
    store = json.loads(connections(services)[STORE])
    store["conn_type"] = "recsys_store"
    # The form sends an empty text for a field that was left empty.
    store["extra"] |= {"read_only": False, **extra}
    parts = conninfo_to_dict(services.postgres.address())
    pg = {
        "conn_type": "recsys_vectors",
        "host": parts["host"],
        "port": int(str(parts["port"])),
        "login": parts["user"],
        "password": parts["password"],
        "schema": parts["dbname"],
        "extra": {"sslmode": "", "sslrootcert": None, "read_only": False, **extra},
    }
    return {STORE: json.dumps(store), VECTORS: json.dumps(pg)}
