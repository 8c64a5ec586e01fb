"""The servers of one recommender, made of settings that several may share."""

from __future__ import annotations

from dataclasses import replace

from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from recsys.contract import check_key_prefix
from recsys.database import PostgresSettings
from recsys.object_store import S3Settings
from recsys.recommenders.description import Description
from recsys.recommenders.namespace import Namespace
from recsys.services import Services


def services_of(description: Description, shared: Services) -> Services:
    """Returns a recommender's database and its part of the bucket.

    Args:
        description: the recommender.
        shared: the servers as their connections or variables name them.
    """
    return replace(
        shared,
        postgres=postgres_of(description.namespace, shared.postgres),
        s3=s3_of(description.namespace, shared.s3),
    )


def postgres_of(names: Namespace, shared: PostgresSettings) -> PostgresSettings:
    """Returns the settings of a recommender's database, with the role of its readers."""
    if names.database is None:
        # Its role may be another one (RECSYS_PG_SITE_ROLE).
        return shared
    address = make_conninfo(shared.address(), dbname=names.database)
    return shared.model_copy(update={"site_role": names.site_role, "dsn": SecretStr(address)})


def s3_of(names: Namespace, shared: S3Settings) -> S3Settings:
    """Returns the settings of a recommender's part of the bucket."""
    prefix = check_key_prefix(shared.prefix + names.key_prefix)
    return shared.model_copy(update={"prefix": prefix})
