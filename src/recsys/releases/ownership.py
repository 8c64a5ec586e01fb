"""Which ledger a bucket belongs to.

The public copies in a bucket are made from one ledger. If another one were connected with the
bucket, it would delete or overwrite what it does not know: with a mistyped address, a database that
is not restored yet, or a second pipeline. So the bucket names its ledger in ``owner.json``, and
every change compares both.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

from recsys import contract, ledger
from recsys.contract import OWNER_KEY, PUBLIC_MODEL_KEY, PUBLIC_POINTER_KEY, RELEASE_ID_TAG
from recsys.database import Connection
from recsys.errors import LedgerError
from recsys.ledger import Action, Actor
from recsys.object_store import ObjectStore
from recsys.releases.lock import promotion_lock
from recsys.services import Services

log = logging.getLogger(__name__)

_HINT = (
    "correct the address of the database or the name of the bucket; if they are right, for example "
    "after moving to a new database, `recsys adopt` gives the bucket to this ledger"
)


@dataclass(frozen=True)
class PublicContent:
    """Releases that the public objects of a bucket say they are of.

    Attributes:
        model: of ``latest_model.keras``; None if it does not say or does not exist.
        pointer: of ``latest.json``; likewise.
        objects: number of public objects that exist, 0 to 2.
    """

    model: str | None
    pointer: str | None
    objects: int

    def is_from(self, known: frozenset[str]) -> bool:
        """Whether every public object that exists is of a known release."""
        return self.objects == len([r for r in (self.model, self.pointer) if r in known])


def public_content(store: ObjectStore) -> PublicContent:
    """Reads which releases the public objects of a bucket are of."""
    head, document = store.head(PUBLIC_MODEL_KEY), store.find_bytes(PUBLIC_POINTER_KEY)
    pointer = None
    if document is not None:
        try:
            pointer = str(json.loads(document)["release_id"])
        except (ValueError, TypeError, KeyError):
            log.warning("%s names no release", PUBLIC_POINTER_KEY)
    model = None if head is None else head.metadata.get(RELEASE_ID_TAG)
    return PublicContent(model, pointer, (head is not None) + (document is not None))


def owner_of(store: ObjectStore) -> str | None:
    """Returns the id of the ledger that the bucket belongs to; None if it belongs to none.

    Raises:
        LedgerError: ``owner.json`` exists and names no ledger.
    """
    document = store.find_bytes(OWNER_KEY)
    if document is None:
        return None
    try:
        return str(json.loads(document)["ledger_id"])
    except (ValueError, TypeError, KeyError) as error:
        raise LedgerError(
            f"{OWNER_KEY} in the bucket {store.location} names no ledger",
            found=f"{type(error).__name__}: {error}",
            expected='a JSON object with "ledger_id"',
            hint=_HINT,
        ) from error


def check_owner(conn: Connection, store: ObjectStore) -> None:
    """Raises LedgerError unless the bucket belongs to this ledger, or can be given to it.

    A bucket without an owner is given to this ledger if it contains nothing of releases that the
    ledger does not know. So do installations from before the bucket had an owner.
    """
    own = ledger.ledger_id(conn)
    owner = owner_of(store)
    if owner is None:
        check_unowned(conn, store)
        if store.create_bytes(OWNER_KEY, _owner(own)):
            log.info("the bucket %s belongs to ledger %s from now on", store.location, own)
        owner = owner_of(store)
    if owner != own:
        raise LedgerError(
            f"the bucket {store.location} belongs to another ledger",
            found=f"owner {owner}",
            expected=f"ledger {own}, which this database contains",
            hint=_HINT,
        )


def check_unowned(conn: Connection, store: ObjectStore) -> None:
    """Raises LedgerError if a bucket without an owner contains another ledger's releases."""
    known = ledger.release_ids(conn)
    content = public_content(store)
    foreign = not content.is_from(known)
    if not content.objects:
        # Nothing public shows whose bucket it is, so the releases must.
        stored = stored_releases(store)
        foreign = bool(stored) and not stored & known
    if foreign:
        raise LedgerError(
            f"the bucket {store.location} contains releases that are not in this database's ledger",
            found=f"{PUBLIC_MODEL_KEY} of release {content.model or 'unknown'}"
            if content.objects
            else "manifests of other releases",
            expected="an empty bucket, or the bucket of this ledger",
            hint=_HINT,
        )


def stored_releases(store: ObjectStore) -> frozenset[str]:
    """Returns the releases that have a manifest in the bucket."""
    return frozenset(
        key.split("/")[1]
        for key in store.keys(contract.RELEASES_PREFIX)
        if key.endswith("/" + contract.MANIFEST_FILE)
    )


def adopt_bucket(services: Services, *, actor: Actor) -> str | None:
    """Gives the bucket to this ledger, whatever it contains, and records who did so.

    Public objects stay until the first promotion replaces them.

    Returns:
        The id of the previous owner; None if there was none.
    """
    with services.connect() as conn:
        ledger.prepare(conn)
    with promotion_lock(services) as conn:
        own = ledger.ledger_id(conn)
        try:
            previous = owner_of(services.store)
        except LedgerError:
            previous = "unreadable"
        if previous != own:
            ledger.note(
                conn,
                Action.BUCKET_ADOPTED,
                actor=actor,
                bucket=services.store.location,
                previous_owner=previous,
            )
            services.store.put_bytes(OWNER_KEY, _owner(own))
    return previous


def claim_bucket(store: ObjectStore, ledger_id: str) -> None:
    """Gives a bucket without contents to a ledger that is being imported. Idempotent.

    Raises:
        LedgerError: it belongs to another ledger, or contains releases and belongs to none.
    """
    owner = owner_of(store)
    if owner is None and not public_content(store).objects and not stored_releases(store):
        store.create_bytes(OWNER_KEY, _owner(ledger_id))
        owner = owner_of(store)
    if owner != ledger_id:
        raise LedgerError(
            f"the bucket {store.location} is in use",
            found=f"owner {owner}" if owner else "releases of no known ledger",
            expected="an empty bucket",
            hint="import into an empty bucket, or set a prefix of keys: RECSYS_S3_PREFIX",
        )


def _owner(ledger_id: str) -> bytes:
    return json.dumps({"ledger_id": ledger_id}).encode()
