"""Exports releases to the model registry of MLflow: one-way, and safe to repeat.

The ledger decides what is in production (ADR 1). MLflow gets a copy for people who compare models
there; nothing is read back. Files stay in S3: a version has their addresses.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from recsys import contract, ledger
from recsys.errors import ArtifactError, ConfigurationError, ServiceUnavailableError
from recsys.ledger import Release, State
from recsys.releases.lock import check_lock, export_lock
from recsys.services import Services

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

CHAMPION: Final = "champion"
"""The alias of the version that is in production."""
_RELEASE: Final = "recsys.release_id"
_PAGE: Final = 1000
_MAX_PARAM: Final = 500
_MAX_TAG: Final = 5000


class Exported(BaseModel):
    """What an export did.

    Attributes:
        model: name of the registered model.
        created: releases that got a version now.
        updated: releases whose version got other tags, such as a new state.
        unchanged: number of releases whose version is as it should be.
        damaged: releases that were skipped, because their manifest in the ledger is damaged.
        champion: the release with the alias; None if no release is in production.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    created: tuple[str, ...]
    updated: tuple[str, ...]
    unchanged: int
    damaged: tuple[str, ...]
    champion: str | None


def export_to_mlflow(services: Services, uri: str, model: str) -> Exported:
    """Makes each complete release a version of a registered model.

    A version that exists is not made again. Only its tags and the alias of the champion follow the
    ledger. An export that was killed is continued by the next one. Exports of one ledger run one by
    one: at once, two of them would make two versions of a release, because MLflow has no key of
    ours.

    Args:
        services: ledger and bucket.
        uri: tracking server of MLflow, also of its registry.
        model: name of the registered model and of the experiment with its runs.

    Raises:
        ConfigurationError: the model's name has an apostrophe, or MLflow does not know this kind of
            address.
        LockedError: another export of this ledger is running.
        ModuleNotFoundError: the extra `mlflow` is not installed.
        ServiceUnavailableError: MLflow does not answer or refuses.
    """
    if "'" in model:
        # MLflow's filters cannot contain it, so the second export would not find the first.
        raise ConfigurationError(
            "the name of the registered model has an apostrophe", found=model, expected="none"
        )
    # MLflow would report its use to its publisher.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    # It would print each run's address on standard output, before the JSON document.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient

    with export_lock(services) as conn, _explained(uri):
        ledger.check_current(conn)
        releases = sorted(ledger.all_releases(conn), key=lambda one: one.created_at)
        written = [one for one in releases if one.manifest is not None]
        complete = [one for one in written if _is_readable(one)]
        champion = next((one for one in complete if one.state == State.CHAMPION), None)
        registry = _Registry(MlflowClient(tracking_uri=uri, registry_uri=uri), model)
        address = services.store.url("")
        done = {}
        for one in complete:
            # Also a sign of life: PostgreSQL ends a session that holds a lock and is idle for long.
            check_lock(conn)
            done[one.release_id] = registry.put(one, address)
        registry.set_champion(champion.release_id if champion else None)
    return Exported(
        model=model,
        created=tuple(name for name, what in done.items() if what == "created"),
        updated=tuple(name for name, what in done.items() if what == "updated"),
        unchanged=sum(1 for what in done.values() if what == "unchanged"),
        damaged=tuple(one.release_id for one in written if one not in complete),
        champion=champion.release_id if champion else None,
    )


class _Registry:
    """A registered model of MLflow, and the experiment with the runs of its versions."""

    def __init__(self, client: MlflowClient, model: str) -> None:
        self._client = client
        self._model = model
        found = client.get_experiment_by_name(model)
        self._experiment = found.experiment_id if found else client.create_experiment(model)
        if not client.search_registered_models(filter_string=f"name = '{model}'"):
            client.create_registered_model(
                model, description="Releases of recsys; made by `recsys mlflow`, one-way"
            )
        self._runs = {run.data.tags.get(_RELEASE): run for run in self._all_runs()}
        self._versions = {one.tags.get(_RELEASE): one for one in self._all_versions()}

    def put(self, release: Release, address: str) -> str:
        """Creates the release's version, or corrects its tags; returns what was done.

        Args:
            release: the release.
            address: of the object store, which keys are appended to.
        """
        version = self._versions.get(release.release_id)
        tags = _tags(release, address)
        if version is None:
            run_id = self._finished_run(release)
            prefix = contract.release_prefix(release.release_id)
            self._versions[release.release_id] = self._client.create_model_version(
                self._model,
                f"{address}{prefix}",
                run_id=run_id,
                tags=tags,
                await_creation_for=0,
            )
            return "created"
        changed = {name: value for name, value in tags.items() if version.tags.get(name) != value}
        for name, value in changed.items():
            self._client.set_model_version_tag(self._model, version.version, name, value)
        return "updated" if changed else "unchanged"

    def set_champion(self, release_id: str | None) -> None:
        """Moves the alias to the champion's version, or removes it if there is no champion."""
        aliases: Mapping[str, Any] = self._client.get_registered_model(self._model).aliases
        if release_id is not None:
            version = self._versions[release_id].version
            if str(aliases.get(CHAMPION)) != str(version):
                self._client.set_registered_model_alias(self._model, CHAMPION, version)
        elif CHAMPION in aliases:
            self._client.delete_registered_model_alias(self._model, CHAMPION)

    def _finished_run(self, release: Release) -> str:
        """Returns the run with the release's params and metrics; continues an interrupted one."""
        from mlflow.entities import Metric, Param

        run = self._runs.get(release.release_id) or self._client.create_run(
            self._experiment,
            start_time=_milliseconds(release.created_at),
            tags={_RELEASE: release.release_id},
            run_name=release.release_id,
        )
        run_id: str = run.info.run_id
        if run.info.status == "FINISHED":
            return run_id
        ended = _milliseconds(release.completed_at or release.created_at)
        values = _metrics(release)
        self._client.log_batch(
            run_id,
            metrics=[Metric(name, value, ended, 0) for name, value in values.items()],
            params=[Param(name, value) for name, value in _params(release).items()],
        )
        self._client.set_terminated(run_id, "FINISHED", ended)
        return run_id

    def _all_runs(self) -> Iterator[Run]:
        token = None
        while True:
            page = self._client.search_runs([self._experiment], max_results=_PAGE, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def _all_versions(self) -> Iterator[ModelVersion]:
        token = None
        while True:
            page = self._client.search_model_versions(
                f"name = '{self._model}'", max_results=_PAGE, page_token=token
            )
            yield from page
            if not (token := page.token):
                return


def _is_readable(release: Release) -> bool:
    try:
        return release.complete_manifest is not None
    except ArtifactError:
        return False


def _tags(release: Release, address: str) -> dict[str, str]:
    """Returns the tags of a version: identity, state, and address and sha256 of each file."""
    manifest = release.complete_manifest
    tags = {
        _RELEASE: release.release_id,
        "recsys.state": str(release.state),
        "recsys.run_id": release.run_id,
        "recsys.dataset_md5": release.dataset_md5,
        "recsys.trainer_digest": release.trainer_digest,
        "recsys.fingerprint": release.fingerprint,
        "recsys.requires_backend": str(manifest.requires_backend),
        "recsys.metrics_by": "verifier" if release.is_measured else "trainer",
    }
    if release.promoted_at is not None:
        tags["recsys.promoted_at"] = release.promoted_at.isoformat()
    for artifact in manifest.artifacts:
        tags[f"artifact.{artifact.name}"] = f"{address}{artifact.key}"
        tags[f"sha256.{artifact.name}"] = artifact.sha256
    return {name: value[:_MAX_TAG] for name, value in tags.items()}


def _metrics(release: Release) -> dict[str, float]:
    """Returns metrics of the model and of the baselines; MLflow's names have no ``@``."""
    found = dict(release.scores.values())
    metrics = release.metrics
    for baseline, scores in (metrics.baselines.by_name() if metrics else {}).items():
        found |= {f"{baseline}.{name}": value for name, value in scores.values().items()}
    return {name.replace("@", "_at_"): value for name, value in found.items()}


def _params(release: Release) -> dict[str, str]:
    """Returns the settings of the build as ``trainer.seed`` and so on."""
    settings = release.complete_manifest.build.settings
    return {name: str(value)[:_MAX_PARAM] for name, value in _flat(settings)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Translates MLflow's errors; a password in the address is not shown."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException

    try:
        yield
    except UnsupportedModelRegistryStoreURIException:
        raise ConfigurationError(
            "MLflow does not know this kind of tracking address",
            found=f"{urlsplit(uri).scheme or 'no scheme'}:",
            expected="http(s)://SERVER, or a database such as sqlite:///mlflow.db",
            hint="correct --tracking-uri or MLFLOW_TRACKING_URI",
        ) from None
    except MlflowException as error:
        text = str(error)
        password = urlsplit(uri).password
        if password:
            text = text.replace(password, "***")
        raise ServiceUnavailableError(
            "MLflow does not answer or refuses the export",
            found=text[:500],
            expected="a tracking server with a model registry",
            hint="check its address and MLFLOW_TRACKING_* variables; the export can be repeated",
        ) from None
