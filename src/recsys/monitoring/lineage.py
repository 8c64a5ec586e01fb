"""Inputs and outputs of each step of a run.

Names follow OpenLineage's naming rules, so that the lineage joins with that of other tools: S3
objects are ``s3://<bucket>/<key>``, tables
``postgres://<host>:<port>/<database>.<schema>.<table>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict

from recsys import contract
from recsys.contract import LEDGER_SCHEMA, LIVE_SCHEMA, PUBLIC_TABLES, PublicTable, table_name
from recsys.dataset import split_sources, without_md5
from recsys.pipeline import Run
from recsys.services import Services


@dataclass(frozen=True)
class LineageDataset:
    """An OpenLineage dataset: an object, a table or a file.

    Attributes:
        namespace: the server.
        name: path on the server.
        facts: identifies the content: ``dataset_md5``, ``release_id``.
    """

    namespace: str
    name: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Lineage:
    """Inputs and outputs of one step."""

    inputs: tuple[LineageDataset, ...]
    outputs: tuple[LineageDataset, ...]


_COMPUTED: Final = tuple(table for table in PUBLIC_TABLES if table.artifact is None)
_TRAINED: Final = tuple(table for table in PUBLIC_TABLES if table.artifact is not None)


def step_lineage(services: Services, run: Run, step: str) -> Lineage | None:
    """Returns inputs and outputs of a step of a run; None if the step moves no data.

    Args:
        services: addresses of S3 and PostgreSQL.
        run: the run.
        step: task id of the step.
    """
    names = _Datasets(services, run)
    features = names.features(
        contract.INTERACTIONS_FILE, contract.MOVIES_FILE, contract.QUARANTINE_FILE
    )
    artifacts = names.artifacts(contract.MANIFEST_FILE, contract.MODEL_FILE)
    towers = names.artifacts(*(table.artifact or "" for table in _TRAINED))
    candidate = names.candidate(
        contract.MANIFEST_FILE,
        contract.MODEL_FILE,
        *(table.artifact or "" for table in _TRAINED),
    )
    own = names.own_tables(PUBLIC_TABLES)
    steps = {
        "fetch_dataset": (names.sources(), names.dataset()),
        "generate_data_frames": (names.dataset(), features),
        "predict_newer_ratings": (features[:1], ()),
        "forward_test": (features[:1], ()),
        "load_movie_vectors": (features[:2], names.own_tables(_COMPUTED)),
        "train_dl_model": (features[:2], candidate),
        "verify_candidate": (candidate, artifacts + towers),
        "load_towers": (towers, names.own_tables(_TRAINED)),
        "gate_candidate": (artifacts + own, ()),
        "write_report": (artifacts, names.artifacts(contract.REPORT_FILE)),
        "promote_release": (artifacts + own, names.public()),
    }
    return Lineage(*steps[step]) if step in steps else None


class _Datasets:
    def __init__(self, services: Services, run: Run) -> None:
        dsn = conninfo_to_dict(services.postgres.address())
        self._bucket = f"s3://{services.s3.bucket}"
        self._prefix = services.s3.prefix
        self._postgres = f"postgres://{dsn.get('host', 'localhost')}:{dsn.get('port', 5432)}"
        self._database = dsn.get("dbname", "")
        self._run = run
        self._md5 = run.build.dataset_md5
        self._of_dataset = {"dataset_md5": self._md5}
        self._of_release = {**self._of_dataset, "release_id": run.release_id}

    def sources(self) -> tuple[LineageDataset, ...]:
        return tuple(self._source(url) for url in split_sources(self._run.source))

    def dataset(self) -> tuple[LineageDataset, ...]:
        return (self._object(contract.dataset_key(self._md5, contract.DATASET_FILE)),)

    def features(self, *names: str) -> tuple[LineageDataset, ...]:
        return tuple(self._object(self._run.build.features_key(name)) for name in names)

    def artifacts(self, *names: str) -> tuple[LineageDataset, ...]:
        release_id = self._run.release_id
        return tuple(self._artifact(contract.release_key(release_id, name)) for name in names)

    def candidate(self, *names: str) -> tuple[LineageDataset, ...]:
        run = self._run
        return tuple(
            self._artifact(contract.inbox_key(run.release_id, run.run_nonce, name))
            for name in names
        )

    def own_tables(self, tables: Iterable[PublicTable]) -> tuple[LineageDataset, ...]:
        return tuple(
            self._table(LEDGER_SCHEMA, table_name(table.name, self._run.release_id))
            for table in tables
        )

    def public(self) -> tuple[LineageDataset, ...]:
        keys = (contract.PUBLIC_MODEL_KEY, contract.PUBLIC_POINTER_KEY)
        tables = (self._table(LIVE_SCHEMA, table.name) for table in PUBLIC_TABLES)
        return (*map(self._artifact, keys), *tables)

    def _object(self, key: str) -> LineageDataset:
        return LineageDataset(self._bucket, self._prefix + key, self._of_dataset)

    def _artifact(self, key: str) -> LineageDataset:
        return LineageDataset(self._bucket, self._prefix + key, self._of_release)

    def _table(self, schema: str, table: str) -> LineageDataset:
        return LineageDataset(
            self._postgres, f"{self._database}.{schema}.{table}", self._of_release
        )

    def _source(self, source: str) -> LineageDataset:
        url = urlsplit(without_md5(source))
        if not url.scheme or url.scheme == "file":
            return LineageDataset("file", url.path, self._of_dataset)
        # User, password and query may be secrets, so they are left out.
        host = url.hostname or ""
        server = f"{host}:{url.port}" if url.port else host
        return LineageDataset(f"{url.scheme}://{server}", url.path.lstrip("/"), self._of_dataset)
