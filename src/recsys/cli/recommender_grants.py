"""Prints what administrators run to give a recommender its place on the servers."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

from recsys import recommenders
from recsys.cli import output
from recsys.errors import ConfigurationError

if TYPE_CHECKING:
    from recsys.recommenders import Description


class Part(StrEnum):
    """A part of what an administrator runs."""

    ROLES = "roles"
    SQL = "sql"
    BUCKET = "bucket"
    KUBERNETES = "kubernetes"


def print_grants(one: Description, only: Part | None) -> None:
    """Prints the grants of a recommender, or one part of them only."""
    commands = recommenders.role_commands(one)
    if only in (None, Part.ROLES):
        for command in commands:
            typer.echo(command)
    if one.namespace.is_first:
        if commands and only in (None, Part.ROLES):
            return
        raise ConfigurationError(
            f"{one.name} has the database and the bucket of its connections",
            hint="docs/security.md has the rights of its accounts, and docs/deployment.md its "
            "objects in Kubernetes",
        )
    if only in (None, Part.SQL, Part.BUCKET):
        _print_server_grants(one, only)
    if only in (None, Part.KUBERNETES):
        text = recommenders.kubernetes_manifests(one)
        typer.echo(text if only else f"\n{text}", nl=False)


def _print_server_grants(one: Description, only: Part | None) -> None:
    with output.shared_services() as shared:
        own = recommenders.services_of(one, shared)
        if only in (None, Part.SQL):
            with shared.connect() as conn:
                for statement in recommenders.grants(one, conn.info.user):
                    typer.echo(f"{statement.as_string(conn)};")
        policy = recommenders.bucket_policy(one, own.s3.bucket, own.s3.prefix)
    if only in (None, Part.BUCKET):
        text = json.dumps(policy, indent=2)
        typer.echo(text if only else f"\n{text}")
