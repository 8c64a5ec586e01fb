"""What `reproduce_release` refuses, before it trains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys import ledger
from recsys.contract import DATASET_FILE, dataset_key, features_key, release_key
from recsys.errors import ArtifactError, ConfigurationError, LedgerError
from recsys.experiments import find_trainer
from recsys.pipeline import reproduce_release
from recsys.releases import finish_erasures, request_erasure
from recsys.services import Services
from tests.actors import an_actor
from tests.planted_users import PlantedReleases, planted_dumps

STEPS: list[str] = []


@pytest.fixture
def release_id(services: Services, tmp_path: Path) -> str:
    """A release of an image, whose digest no trainer of a clone has."""
    planted = PlantedReleases(services, planted_dumps(tmp_path, 1))
    return planted.promoted(1)


@pytest.fixture(autouse=True)
def nothing_is_trained(tmp_path: Path) -> Iterator[None]:
    STEPS.clear()
    yield
    assert "training" not in STEPS


def reproduce(services: Services, release_id: str, work: Path, *, any_trainer: bool = True) -> None:
    folder = work / "work"
    folder.mkdir()
    trainer = find_trainer()
    reproduce_release(services, release_id, trainer, folder, STEPS.append, any_trainer=any_trainer)


def test_another_trainer_is_refused(services: Services, release_id: str, tmp_path: Path):
    with pytest.raises(ConfigurationError, match="not the one that made the release") as refused:
        reproduce(services, release_id, tmp_path, any_trainer=False)
    assert refused.value.found == find_trainer().digest()
    assert refused.value.expected == f"sha256:{'a' * 64}"
    assert "--any-trainer" in str(refused.value.hint)
    assert STEPS == []


def test_a_release_whose_dataset_is_gone_is_refused(
    services: Services, release_id: str, tmp_path: Path
):
    with services.connect() as conn:
        md5 = ledger.get(conn, release_id).dataset_md5
    services.store.delete([dataset_key(md5, DATASET_FILE)])
    with pytest.raises(ArtifactError, match="not in the store") as refused:
        reproduce(services, release_id, tmp_path)
    assert "retention deletes the datasets of old releases" in str(refused.value.hint)


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_release_that_lacks_an_artifact_is_refused(
    services: Services, release_id: str, tmp_path: Path, damage: str
):
    key = release_key(release_id, "towers/user_towers.parquet")
    if damage == "gone":
        services.store.delete([key])
    else:
        services.store.put_bytes(key, b"changed")
    with pytest.raises(ArtifactError, match="there is nothing to compare with") as refused:
        reproduce(services, release_id, tmp_path)
    assert refused.value.found == key
    assert STEPS == ["looking for what it is compared with"]


class StopError(Exception):
    """Ends a reproduction when enough was seen."""


def test_after_an_erasure_the_stored_features_are_used(
    services: Services, release_id: str, tmp_path: Path
):
    """Of a release that never knew the user, too: all raw datasets are deleted."""
    actor = an_actor("ada", "request 7")
    request_erasure(services, [11_111_111], actor=actor)
    assert finish_erasures(services, actor=actor).completed == 1

    def stop_at_vectors(step: str) -> None:
        STEPS.append(step)
        if step == "computing the movie vectors":
            raise StopError

    with pytest.raises(StopError):
        reproduce_release(
            services, release_id, find_trainer(), tmp_path, stop_at_vectors, any_trainer=True
        )
    assert "reading the features; their dataset was deleted, because users were erased" in STEPS
    stored = planted_interactions(services, release_id)
    assert (tmp_path / "features" / "interactions.parquet").read_bytes() == stored


def planted_interactions(services: Services, release_id: str) -> bytes:
    with services.connect() as conn:
        prefix = ledger.get(conn, release_id).features_prefix
    return services.store.get_bytes(features_key(prefix, "interactions.parquet"))


def test_an_unknown_release_is_refused(services: Services, release_id: str, tmp_path: Path):
    with pytest.raises(LedgerError):
        reproduce(services, "00000000-00000000", tmp_path)
