"""Deletion of what a retired release has: views and tables, objects, features, its dataset."""

from __future__ import annotations

from recsys import contract, ledger, vectors
from recsys.database import Connection
from recsys.ledger import Actor, Release, State
from recsys.releases import public_names
from recsys.releases.lock import check_lock, deletion_lock
from recsys.releases.recovery import Trace
from recsys.services import Services


def delete_release(
    conn: Connection, services: Services, release: Release, actor: Actor, trace: Trace
) -> None:
    """Deletes what a retiring release has in PostgreSQL and S3, and marks it as retired.

    The caller holds the deletion lock. Every step can be repeated.

    Raises:
        LockedError: a table is in use, or a build of the dataset begins.
        VectorError: something of others uses the release's tables.
    """
    public_names.drop_views(conn, release.release_id)
    trace("views dropped")
    vectors.drop_vectors(conn, release.release_id)
    trace("tables dropped")
    _drop_objects(conn, services, release.release_id)
    trace("objects dropped")
    _drop_dataset(conn, services, release, actor, trace)
    trace("marked as retired")


def _drop_objects(conn: Connection, services: Services, release_id: str) -> None:
    """Deletes a release's objects, the manifest first: a release without one does not exist."""
    _delete(conn, services, [contract.release_key(release_id, contract.MANIFEST_FILE)])
    _delete(conn, services, services.store.keys(contract.release_prefix(release_id)))
    _delete(conn, services, services.store.keys(contract.release_inbox_prefix(release_id)))
    seals = [contract.seal_key(release_id), contract.forward_seal_key(release_id)]
    _delete(conn, services, seals)


def _drop_dataset(
    conn: Connection, services: Services, release: Release, actor: Actor, trace: Trace
) -> None:
    """Deletes raw files and features of the release unless another release needs them.

    The release is marked as retired before builds of the dataset may begin again. So retirement
    never looks at the datasets of all releases that were ever retired.
    """
    md5 = release.dataset_md5
    with ledger.deleting_dataset(conn, md5, release.release_id) as unused:
        _delete_unused(conn, services, release, unused)
        trace("dataset dropped")
        ledger.move(conn, release.release_id, State.RETIRED, actor=actor)


def _delete_unused(
    conn: Connection, services: Services, release: Release, unused: ledger.Unused
) -> None:
    md5 = release.dataset_md5
    if unused.features:
        _delete(conn, services, _features(services, release))
    if unused.dataset:
        for prefix in (contract.dataset_features_prefix(md5), contract.dataset_prefix(md5)):
            _delete(conn, services, services.store.keys(prefix))


def delete_leftovers(services: Services, release_id: str) -> None:
    """Deletes what a task wrote after its release was retired; does nothing in any other state.

    Raises:
        LockedError: a retirement is deleting, or a build of the dataset begins.
        VectorError: something of others uses the release's tables.
    """
    with deletion_lock(services) as conn:
        release = ledger.get(conn, release_id)
        with ledger.deleting_dataset(conn, release.dataset_md5, release_id) as unused:
            if ledger.get(conn, release_id).state == State.RETIRED:
                public_names.drop_views(conn, release_id)
                vectors.drop_vectors(conn, release_id)
                _drop_objects(conn, services, release_id)
                _delete_unused(conn, services, release, unused)
        delete_raw_datasets(conn, services)


def delete_raw_datasets(conn: Connection, services: Services) -> None:
    """Deletes the zips of all datasets if users were erased, whom they may hold.

    The one that a run is about to read stays: the run deletes it itself. The caller holds the
    deletion lock.

    Raises:
        LockedError: a build of a dataset begins.
    """
    if not ledger.newest_erasure(conn):
        return
    for key in services.store.keys(contract.DATASETS_PREFIX):
        group = contract.key_group(key)
        if group is None or group.dataset_md5 is None:
            continue
        with ledger.no_build_begins(conn, group.dataset_md5):
            building = {release.dataset_md5 for release in ledger.releases_in(conn, State.BUILDING)}
            if group.dataset_md5 not in building:
                _delete(conn, services, [key])


def _features(services: Services, release: Release) -> list[str]:
    """Returns the keys of a release's features, first the statistics: without them there are none.

    The features of earlier code are directly below the prefix of their dataset, together with the
    titles, which all releases of the dataset share, and the folders of later features.
    """
    prefix = release.features_prefix
    titles = contract.titles_key(release.dataset_md5)
    keys = [
        key
        for key in services.store.keys(prefix)
        if contract.prefix_of_features(key) == prefix and key != titles
    ]
    statistics = contract.features_key(prefix, contract.STATS_FILE)
    return sorted(keys, key=lambda key: key != statistics)


def _delete(conn: Connection, services: Services, keys: list[str]) -> None:
    for key in keys:
        check_lock(conn)
        services.store.delete([key])
