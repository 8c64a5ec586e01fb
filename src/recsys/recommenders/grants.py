"""What an administrator runs to give a recommender its place on the servers."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from recsys.recommenders import own_database
from recsys.recommenders.description import Description


def grants(description: Description, account: str) -> list[sql.Composed]:
    """Returns the statements that make a recommender's database and the role of its readers.

    Args:
        description: the recommender; not the first one, which has the connection's database.
        account: the pipeline's account, which owns the database.
    """
    name, site = own_database.identifiers(description)
    return [
        sql.SQL("create role {} nologin").format(site),
        sql.SQL("create database {} owner {} encoding 'UTF8' template template0").format(
            name, sql.Identifier(account)
        ),
        *database_rights(description),
    ]


def database_rights(description: Description) -> list[sql.Composed]:
    """Returns the statements that give a database to a recommender's readers only."""
    name, site = own_database.identifiers(description)
    return [
        sql.SQL("revoke all on database {} from public").format(name),
        sql.SQL("grant connect on database {} to {}").format(name, site),
        # So that also a connection that does not know the recommender grants to its readers.
        sql.SQL("alter database {} set recsys.site_role = {}").format(
            name, sql.Literal(description.namespace.site_role)
        ),
    ]


def bucket_policy(description: Description, bucket: str, prefix: str) -> dict[str, Any]:
    """Returns the S3 policy of an account that reaches this recommender's objects only.

    Args:
        description: the recommender.
        bucket: the bucket.
        prefix: the prefix of its keys.
    """
    arn = f"arn:aws:s3:::{bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Objects",
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
                "Resource": f"{arn}/{prefix}*",
            },
            {
                "Sid": "List",
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": arn,
                "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*"]}},
            },
        ],
    }
