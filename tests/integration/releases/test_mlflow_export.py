"""Releases are exported to a real registry of MLflow, in SQLite; repeating it changes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from mlflow import MlflowClient

from recsys.errors import ConfigurationError, ServiceUnavailableError
from recsys.releases import Exported, export_to_mlflow, promote_release, roll_back
from recsys.services import Services
from tests.actors import an_actor
from tests.release_maker import Releases

MODEL = "movies"


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def registry(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def versions(registry: MlflowClient) -> dict[str, str]:
    """Version by release."""
    found = registry.search_model_versions(f"name = '{MODEL}'")
    return {one.tags["recsys.release_id"]: str(one.version) for one in found}


def alias(registry: MlflowClient) -> str:
    return str(registry.get_model_version_by_alias(MODEL, "champion").version)


def test_releases_become_versions_and_the_alias_follows_the_champion(
    services: Services, releases: Releases, uri: str, registry: MlflowClient
) -> None:
    first = releases.candidate(1)
    done = export_to_mlflow(services, uri, MODEL)
    assert (done.created, done.champion) == ((first,), None)
    assert registry.get_registered_model(MODEL).aliases == {}

    second = releases.candidate(2)
    releases.begin(3)
    # As an export leaves it that was killed before the version was made.
    [experiment] = [one for one in registry.search_experiments() if one.name == MODEL]
    begun = registry.create_run(experiment.experiment_id, tags={"recsys.release_id": second})
    for release_id in (first, second):
        releases.judge(release_id)
        promote_release(services, release_id, actor=an_actor())
    done = export_to_mlflow(services, uri, MODEL)
    assert (done.created, done.updated, done.champion) == ((second,), (first,), second)
    assert versions(registry) == {first: "1", second: "2"}
    assert alias(registry) == "2"
    version = registry.get_model_version(MODEL, "2")
    assert version.run_id == begun.info.run_id
    assert version.tags["recsys.state"] == "champion"
    assert version.tags["artifact.model.keras"].startswith(f"s3://{services.store.bucket}/releases")
    assert len(version.tags["sha256.model.keras"]) == 64
    run = registry.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["rmse"] == releases.metrics(2).model.rmse
    assert run.data.metrics["popularity.ndcg_at_10"] > 0
    assert run.data.params

    repeated = export_to_mlflow(services, uri, MODEL)
    assert (repeated.created, repeated.updated, repeated.unchanged) == ((), (), 2)
    assert len(registry.get_metric_history(version.run_id, "rmse")) == 1

    roll_back(services, first, actor=an_actor())
    export_to_mlflow(services, uri, MODEL)
    assert alias(registry) == "1"
    assert registry.get_model_version(MODEL, "2").tags["recsys.state"] == "rolled_back"
    assert set(versions(registry)) == {first, second}


def test_two_exports_at_once_make_one_version_of_each_release(
    services: Services, releases: Releases, uri: str, registry: MlflowClient
) -> None:
    made = {releases.candidate(number) for number in (1, 2, 3)}
    # Creates the tables of the registry, which is the server's work.
    registry.search_registered_models()
    together = Barrier(2)

    def export() -> Exported:
        together.wait()
        return export_to_mlflow(services, uri, MODEL)

    with ThreadPoolExecutor(2) as pool:
        done = [one.result() for one in [pool.submit(export), pool.submit(export)]]

    assert sorted(name for one in done for name in one.created) == sorted(made)
    assert sorted(one.unchanged for one in done) == [0, 3]
    found = registry.search_model_versions(f"name = '{MODEL}'")
    assert sorted(one.tags["recsys.release_id"] for one in found) == sorted(made)


def test_a_server_that_does_not_answer_is_said_without_the_password(
    services: Services, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ServiceUnavailableError, match="MLflow") as failed:
        export_to_mlflow(services, "http://ann:s3cret@127.0.0.1:1", MODEL)
    assert "s3cret" not in str(failed.value)


def test_an_unknown_kind_of_address_is_no_temporary_failure(services: Services) -> None:
    with pytest.raises(ConfigurationError, match="kind of tracking address") as refused:
        export_to_mlflow(services, "ftp://user:secret@127.0.0.1/registry", MODEL)
    assert "secret" not in str(refused.value)


def test_a_name_that_a_filter_cannot_contain_is_refused(services: Services, uri: str) -> None:
    with pytest.raises(ConfigurationError, match="apostrophe"):
        export_to_mlflow(services, uri, "it's mine")
