"""The certificate of an erasure: what was searched, what was found, and what is out of reach.

It is an in-toto statement. With a signing key it is stored in a bundle of the same form as the
signature of a release, which anybody verifies with the public key. It names no user: the list of
erased users is identified by its digest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from recsys import contract, ledger, signing
from recsys.errors import LedgerError
from recsys.ledger import State
from recsys.releases.hiding import erased_users
from recsys.releases.traces import Searched, own_keys, search_objects, search_tables
from recsys.services import Services
from recsys.signing import SigningKey

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:recsys:erasure:v1"
OUT_OF_REACH: Final = (
    (
        "backups of the database and of the bucket",
        "let them expire, or erase again after restoring one: `recsys erase --verify` finds what "
        "came back",
    ),
    (
        "earlier versions of objects, if the bucket keeps versions",
        "delete noncurrent versions by a lifecycle rule of the bucket, or with an account that may "
        "list versions",
    ),
    (
        "replicas and standbys of bucket and database, and archives of the write-ahead log",
        "deletions reach replicas by themselves; let archives expire",
    ),
    ("the publisher's own dataset, and its mirrors", "ask the publisher to remove the user there"),
    (
        "Airflow's logs and its database, such as the parameters of a triggered run",
        "`airflow db clean`, and the retention of the logs; record requests with `recsys erase`, "
        "which passes no id to Airflow",
    ),
    (
        "files on people's own machines: trainings (`recsys train`), datasets, saved reports, logs",
        "delete them; `recsys experiments list` shows trainings, and a stack on one machine has "
        "reports and logs in its folder `.recsys`",
    ),
    (
        "copies of releases elsewhere: registries (`recsys mlflow`), downloads, caches of sites",
        "delete the copies; a site drops what it keeps of a user when it is notified, and the "
        "model when the next release is loaded",
    ),
    (
        "objects and tables of other applications in the same bucket and database",
        "ask their owners: they are neither read nor deleted here",
    ),
)
"""What cannot be searched from here, and what to do about each."""


class SearchResult(StrEnum):
    """What a search says."""

    NO_TRACE = "no trace"
    """Everything was decoded, and nothing names an erased user."""
    NOT_PROVEN = "not proven"
    """Nothing that was decoded names one, but something could not be decoded."""
    TRACES = "traces"
    """Something names an erased user."""


@dataclass(frozen=True)
class Search:
    """The result of a search for traces of all erased users.

    Attributes:
        searched: every object and table that was looked at.
        users: number of users who were searched for.
        pending: number of those whose request is not completed.
        digest: of the list of erased users; None if it is empty.
        releases: ids of the retained releases.
        started: when the search began.
        finished: when it ended.
    """

    searched: tuple[Searched, ...]
    users: int
    pending: int
    digest: str | None
    releases: tuple[str, ...]
    started: datetime
    finished: datetime

    @property
    def traces(self) -> tuple[Searched, ...]:
        """Objects and tables that name an erased user."""
        return tuple(each for each in self.searched if each.found)

    @property
    def result(self) -> SearchResult:
        """What may be claimed: an object that nothing here can read may name anybody."""
        if self.traces:
            return SearchResult.TRACES
        return SearchResult.NOT_PROVEN if self.undecoded else SearchResult.NO_TRACE

    @property
    def undecoded(self) -> tuple[Searched, ...]:
        """Objects that nothing here can read."""
        return tuple(each for each in self.searched if each.problem)


def what_to_do(undecoded: Searched) -> str:
    """Returns what an operator does about an object that could not be decoded."""
    group = contract.key_group(undecoded.name)
    if group is not None and group.release_id:
        return (
            f"read it with the program that wrote it; it goes with release {group.release_id}, so "
            "if it is damaged or names somebody, promote another release and let this one retire"
        )
    return (
        "read it with the program that wrote it; if it is damaged, names somebody, or nothing "
        "needs it, delete it from the bucket"
    )


def search_everything(services: Services) -> Search:
    """Searches every object and every table of this project, so every retained release."""
    started = datetime.now(UTC)
    with services.connect() as conn:
        ledger.check_current(conn)
        erased = erased_users(conn)
        requests = ledger.erasures(conn)
        searched = (
            *search_objects(services.store, own_keys(services.store), erased),
            *search_tables(conn, erased),
        )
        retained = tuple(
            release.release_id
            for release in ledger.retained_releases(conn)
            if release.state != State.RETIRED
        )
    return Search(
        searched=searched,
        users=len(requests),
        pending=sum(request.is_pending for request in requests),
        digest=erased.digest,
        releases=retained,
        started=started,
        finished=datetime.now(UTC),
    )


def describe_search(services: Services, search: Search) -> dict[str, Any]:
    """Returns the certificate's content: an in-toto statement that names no user."""
    with services.connect() as conn:
        owner = str(ledger.ledger_id(conn))
        requests = ledger.erasures(conn)
        champion = ledger.champion(conn)
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": "erased-users", "digest": {"sha256": search.digest}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "result": search.result,
            "ledger": owner,
            "bucket": services.store.location,
            "searched": {"started": _utc(search.started), "finished": _utc(search.finished)},
            "requests": [
                {
                    "number": request.number,
                    "requested": _utc(request.requested_at),
                    "completed": _utc(request.completed_at) if request.completed_at else None,
                    "list": request.digest,
                }
                for request in requests
            ],
            "champion": champion.release_id if champion else None,
            "releases": list(search.releases),
            "objects": [
                {"name": each.name, "sha256": each.sha256, "size": each.size}
                for each in search.searched
                if each.kind == "object"
            ],
            "tables": [each.name for each in search.searched if each.kind == "table"],
            "traces": [each.name for each in search.traces],
            "notDecoded": [
                {"name": each.name, "why": each.problem, "toDo": what_to_do(each)}
                for each in search.undecoded
            ],
            "outOfReach": [{"what": what, "toDo": todo} for what, todo in OUT_OF_REACH],
        },
    }


def certify(services: Services, search: Search, key: SigningKey | None) -> bytes:
    """Makes the certificate and stores it in the bucket; returns its bytes.

    Its result is ``not proven`` if something could not be decoded, which it names.

    Args:
        services: the servers.
        search: the search, which found no trace.
        key: the private key; None for a certificate without a signature.

    Raises:
        LedgerError: something still names an erased user, a request is pending, or nobody was
            erased.
    """
    if search.digest is None or search.traces or search.pending:
        raise LedgerError(
            "there is nothing to certify yet",
            found=f"{search.pending} pending requests, {len(search.traces)} traces, "
            f"{search.users} erased users",
            expected="completed requests and no trace",
            hint="run `recsys erase` again; it says what is missing",
        )
    payload = json.dumps(describe_search(services, search), indent=2).encode()
    certificate = signing.make_bundle(payload, key) if key else payload
    services.store.put_bytes(contract.certificate_key(search.digest), certificate)
    return certificate


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
