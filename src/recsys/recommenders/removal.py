"""Removes all that belongs to a recommender, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from recsys import database, ledger, releases
from recsys.errors import ConfigurationError, LedgerError, TransientError
from recsys.recommenders import own_database
from recsys.recommenders.description import Description
from recsys.recommenders.servers import services_of
from recsys.services import Services

REMOVING: Final = ".removing"
"""Ends the name of a description whose recommender is being removed; its DAGs are gone."""


def remove(
    description: Description,
    file: Path,
    shared: Services,
    *,
    even_served: bool,
    forget: Callable[[Sequence[str]], int] | None = None,
) -> Iterator[str]:
    """Removes a recommender: its DAGs, database, role, objects and history, and nothing else.

    It can be repeated after it was interrupted. The description is the last that goes: until then
    it has another name, so that there are no DAGs.

    Args:
        description: the recommender.
        file: the file of the description, with or without `REMOVING`.
        shared: servers whose account may drop the database and the role.
        even_served: also if a release is served.
        forget: deletes what Airflow's database has of DAGs, and returns of how many; None: that is
            out of reach.

    Yields:
        What is gone.

    Raises:
        ConfigurationError: it is the first recommender, which has its servers to itself.
        LedgerError: a release is served, or the objects belong to another ledger.
        TransientError: a run or a reader is connected.
    """
    _check_own_names(description)
    own_database.check_own(description, shared, may_be_empty=False)
    name, site = own_database.identifiers(description)
    own = services_of(description, shared)
    # A removal that was interrupted has checked it.
    if file.suffix != REMOVING:
        check_removable(description, shared, even_served=even_served)
        file = file.rename(file.with_name(file.name + REMOVING))
        yield "its DAGs"
    with shared.connect() as conn:
        if own_database.exists(conn, "pg_database", "datname", description.name):
            try:
                with database.long_statement(conn, 120):
                    conn.execute(sql.SQL("drop database {}").format(name))
            except psycopg.errors.ObjectInUse as error:
                raise TransientError(
                    f"the database {description.name} is in use",
                    found=str(error.diag.message_detail or error).strip(),
                    hint="end its runs and readers, and repeat the command; its DAGs are gone",
                ) from error
            yield f"database {description.name}"
        if own_database.exists(conn, "pg_roles", "rolname", description.namespace.site_role):
            conn.execute(sql.SQL("drop role {}").format(site))
            yield f"role {description.namespace.site_role}"
    keys = own.store.keys("")
    own.store.delete(keys)
    yield f"{len(keys)} objects in {own.store.location}"
    if forget is not None:
        yield f"the history of {forget(description.namespace.dag_ids)} DAGs"
    file.unlink()
    yield str(file)


def check_removable(description: Description, shared: Services, *, even_served: bool) -> bool:
    """Checks that a recommender may be removed; returns whether it has a ledger to export.

    Raises:
        ConfigurationError: it is the first recommender, which has its servers to itself, or
            somebody else's database has the name.
        LedgerError: a release is served, or the objects belong to another ledger.
    """
    _check_own_names(description)
    own_database.check_own(description, shared, may_be_empty=False)
    own = services_of(description, shared)
    with shared.connect() as conn:
        is_there = own_database.exists(conn, "pg_database", "datname", description.name)
    if not is_there or not _has_ledger(own):
        if own.store.keys(""):
            raise LedgerError(
                f"there are objects in {own.store.location}, and no ledger that they are of",
                expected=f"the database {description.name} with a ledger",
                hint="delete them yourself if they are not needed, and repeat the command",
            )
        return False
    with own.connect() as conn:
        champion = ledger.champion(conn)
        if champion is not None and not even_served:
            raise LedgerError(
                f"{description.name} serves a release",
                found=champion.release_id,
                hint="switch its readers off; then --even-served removes it",
            )
        releases.check_owner(conn, own.store)
    return True


def _has_ledger(own: Services) -> bool:
    with own.connect() as conn:
        return bool(ledger.applied(conn))


def _check_own_names(description: Description) -> None:
    if description.namespace.is_first:
        raise ConfigurationError(
            f"{description.name} has no database and no prefix of its own that could be dropped",
            hint="remove its file to remove its DAGs; its database and bucket are the connections'",
        )
