"""What each step of a run reads and writes, by the names under which it can be found.

S3 objects are ``s3://<bucket>/<key>``, tables ``postgres://<host>:<port>/<database>.<schema>.
<table>``: the naming rules of OpenLineage, so that other tools' lineage joins with ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict

from recsys import contract
from recsys.contract import LEDGER_SCHEMA, LIVE_SCHEMA, PUBLIC_TABLES, PublicTable, table_name
from recsys.dataset import split_sources
from recsys.pipeline import Run
from recsys.services import Services


@dataclass(frozen=True)
class Place:
    """Something that steps read or write.

    Attributes:
        namespace: the server.
        name: where on it.
        facts: what identifies its content: ``dataset_md5``, ``release_id``.
    """

    namespace: str
    name: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Lineage:
    """What one step reads and writes."""

    inputs: tuple[Place, ...]
    outputs: tuple[Place, ...]


_MADE: Final = tuple(table for table in PUBLIC_TABLES if table.artifact is None)
_TRAINED: Final = tuple(table for table in PUBLIC_TABLES if table.artifact is not None)


def step_lineage(services: Services, run: Run, step: str) -> Lineage | None:
    """What a step of a run reads and writes; None for a step that moves no data.

    Args:
        services: where S3 and PostgreSQL are.
        run: the run.
        step: the step's name, which is the id of its task.
    """
    found = _Places(services, run)
    features = found.features(
        contract.INTERACTIONS_FILE, contract.MOVIES_FILE, contract.QUARANTINE_FILE
    )
    artifacts = found.artifacts(contract.MANIFEST_FILE, contract.MODEL_FILE)
    towers = found.artifacts(*(table.artifact or "" for table in _TRAINED))
    own = found.own_tables(PUBLIC_TABLES)
    steps = {
        "fetch_dataset": (found.sources(), found.dataset()),
        "generate_data_frames": (found.dataset(), features),
        "load_movie_vectors": (features[:2], found.own_tables(_MADE)),
        "train_dl_model": (features[:2], artifacts + towers),
        "load_towers": (towers, found.own_tables(_TRAINED)),
        "gate_candidate": (artifacts + own, ()),
        "write_report": (artifacts, found.artifacts(contract.REPORT_FILE)),
        "promote_release": (artifacts + own, found.public()),
    }
    return Lineage(*steps[step]) if step in steps else None


class _Places:
    def __init__(self, services: Services, run: Run) -> None:
        dsn = conninfo_to_dict(services.postgres.dsn.get_secret_value())
        self._bucket = f"s3://{services.s3.bucket}"
        self._postgres = f"postgres://{dsn.get('host', 'localhost')}:{dsn.get('port', 5432)}"
        self._database = dsn.get("dbname", "")
        self._run = run
        self._md5 = run.build.dataset_md5
        self._of_dataset = {"dataset_md5": self._md5}
        self._of_release = {**self._of_dataset, "release_id": run.release_id}

    def sources(self) -> tuple[Place, ...]:
        return tuple(self._source(url) for url in split_sources(self._run.source))

    def dataset(self) -> tuple[Place, ...]:
        return (self._object(contract.dataset_key(self._md5, contract.DATASET_FILE)),)

    def features(self, *names: str) -> tuple[Place, ...]:
        return tuple(self._object(contract.features_key(self._md5, name)) for name in names)

    def artifacts(self, *names: str) -> tuple[Place, ...]:
        release_id = self._run.release_id
        return tuple(self._artifact(contract.release_key(release_id, name)) for name in names)

    def own_tables(self, tables: Iterable[PublicTable]) -> tuple[Place, ...]:
        return tuple(
            self._table(LEDGER_SCHEMA, table_name(table.name, self._run.release_id))
            for table in tables
        )

    def public(self) -> tuple[Place, ...]:
        keys = (contract.PUBLIC_MODEL_KEY, contract.PUBLIC_POINTER_KEY)
        tables = (self._table(LIVE_SCHEMA, table.name) for table in PUBLIC_TABLES)
        return (*map(self._artifact, keys), *tables)

    def _object(self, key: str) -> Place:
        return Place(self._bucket, key, self._of_dataset)

    def _artifact(self, key: str) -> Place:
        return Place(self._bucket, key, self._of_release)

    def _table(self, schema: str, table: str) -> Place:
        return Place(self._postgres, f"{self._database}.{schema}.{table}", self._of_release)

    def _source(self, source: str) -> Place:
        url = urlsplit(source)
        if not url.scheme or url.scheme == "file":
            return Place("file", url.path, self._of_dataset)
        # Neither user, password nor query: they may be secrets.
        host = url.hostname or ""
        server = f"{host}:{url.port}" if url.port else host
        return Place(f"{url.scheme}://{server}", url.path.lstrip("/"), self._of_dataset)
