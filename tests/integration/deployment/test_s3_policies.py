"""The policies of docker/s3, enforced by a real server, suffice for the product's own steps.

Each step runs with the keys of its own account: a pipeline's run as far as a promotion, the trainer
as its own process, and the reader of the site. Spark's steps are in tests/spark; here its account
is refused what it may not do.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from recsys import contract, pipeline, releases
from recsys.contract import BuildSettings
from recsys.database import PostgresSettings
from recsys.dataset import write_sample
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import BUCKET
from recsys.errors import ConfigurationError, RecsysError
from recsys.gate import GateSettings
from recsys.object_store import ObjectStore
from recsys.services import Services
from recsys.trainer_process import LocalTrainer
from tests.actors import an_actor
from tests.conftest import fresh_database
from tests.s3_accounts import Guarded, guarded_server

BRIEF = {"rating": {"members": 2, "epochs": 2}, "ranking": {"epochs": 1}}


@pytest.fixture(scope="module")
def guarded(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded_server(repository, tmp_path_factory.mktemp("policies")) as server:
        yield server


@pytest.fixture(scope="module")
def services(guarded: Guarded, postgres_server: Postgres) -> Iterator[Services]:
    with fresh_database(postgres_server) as dsn:
        postgres = PostgresSettings(dsn=SecretStr(dsn))
        yield Services(postgres=postgres, s3=guarded.settings("pipeline"))


@pytest.fixture(scope="module")
def features(services: Services, tmp_path_factory: pytest.TempPathFactory) -> pipeline.Run:
    """A run as far as its features, by the pipeline's account."""
    source = tmp_path_factory.mktemp("source") / "data.zip"
    write_sample(source, ratings=3_000, seed=1)
    run = pipeline.data_is_new(
        services,
        source=str(source),
        trainer_digest=f"sha256:{'b' * 64}",
        settings=BuildSettings.model_validate({"trainer": {"overrides": BRIEF}}),
        run_id="policies",
        force=False,
        actor=an_actor(),
    ).run
    pipeline.fetch_dataset(services, run)
    pipeline.generate_data_frames(services, run)
    return run


@pytest.fixture(scope="module")
def trained(
    guarded: Guarded, services: Services, features: pipeline.Run, repository: Path
) -> pipeline.Run:
    """The trainer trains and verifies with its own account."""
    python = os.environ.get("RECSYS_TRAINER_PYTHON") or repository / "trainer/.venv/bin/python"
    trainer = LocalTrainer(Path(python), repository)
    keys = guarded.settings("trainer").credentials()
    trainer_input = pipeline.begin_training(services, features)
    assert trainer_input is not None
    trainer.run("train", trainer_input, keys)
    # A second one finds the complete candidate.
    trainer.run("train", trainer_input, keys)
    trainer.run("verify", pipeline.check_candidate(services, features), keys)
    return features


@pytest.fixture(scope="module")
def promoted(services: Services, trained: pipeline.Run) -> pipeline.Run:
    """The pipeline's account promotes the release, writes its report, and retires nothing."""
    pipeline.enable_vector_extension(services)
    pipeline.load_movie_vectors(services, trained)
    pipeline.load_towers(services, trained)
    pipeline.gate_candidate(services, trained, GateSettings())
    assert pipeline.write_report(services, trained)
    releases.promote_release(
        services, trained.release_id, actor=an_actor("Ada Lovelace"), override=True
    )
    releases.recover_promotion(services, actor=an_actor())
    releases.retire_old_releases(services, releases.RetentionSettings(), actor=an_actor())
    return trained


def test_the_trainers_policy_suffices_to_train_and_the_log_is_stored(
    guarded: Guarded, trained: pipeline.Run
) -> None:
    store = ObjectStore.connect(guarded.settings("pipeline"))
    manifest, _ = releases.read_manifest(store, trained.release_id)
    assert manifest.run_nonce == trained.run_nonce


def test_the_pipelines_policy_suffices_to_promote(
    services: Services, promoted: pipeline.Run
) -> None:
    pointer = json.loads(services.store.get_bytes(contract.PUBLIC_POINTER_KEY))
    assert pointer["release_id"] == promoted.release_id


def test_the_sites_policy_suffices_for_model_and_titles(
    guarded: Guarded, services: Services, promoted: pipeline.Run, tmp_path: Path, repository: Path
) -> None:
    python = repository / "site/.venv/bin/python"
    if not python.exists():
        pytest.skip("the site's environment is not set up: make setup")
    program = """
import os, sys
from pathlib import Path
import boto3, psycopg
from release_reader import ReleaseReader
s3 = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"], region_name="us-east-1")
connect = lambda: psycopg.connect(os.environ["DSN"], autocommit=True)
reader = ReleaseReader(connect, s3, os.environ["BUCKET"], Path(sys.argv[1]),
                       lambda path, release: path.stat().st_size)
live = reader.live
key = f"features/{live.dataset_md5}/movies.parquet"
titles = s3.get_object(Bucket=os.environ["BUCKET"], Key=key)["Body"].read()
print(live.release_id, live.model > 0, len(titles) > 0)
"""
    done = subprocess.run(
        [python, "-c", program, str(tmp_path / "models")],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(repository / "site"),
            "ENDPOINT": guarded.endpoint,
            "BUCKET": BUCKET,
            "DSN": services.postgres.dsn.get_secret_value(),
            **guarded.settings("site").credentials(),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [promoted.release_id, "True", "True"], done.stderr


@pytest.mark.parametrize(
    ("account", "action", "key"),
    [
        ("trainer", "put_object", contract.PUBLIC_MODEL_KEY),
        ("trainer", "put_object", "features/x/movies.parquet"),
        ("trainer", "put_object", "datasets/x/dataset.zip"),
        ("trainer", "put_object", f"releases/x/{contract.SIGNATURE_FILE}"),
        ("trainer", "put_object", f"releases/x/{contract.PROVENANCE_FILE}"),
        ("trainer", "get_object", contract.PUBLIC_MODEL_KEY),
        ("site", "put_object", contract.PUBLIC_MODEL_KEY),
        ("site", "delete_object", "releases/x/model.keras"),
        ("site", "get_object", "datasets/x/dataset.zip"),
        ("spark", "put_object", "releases/x/model.keras"),
        ("spark", "get_object", "releases/x/model.keras"),
    ],
)
def test_an_account_may_do_no_more(guarded: Guarded, account: str, action: str, key: str) -> None:
    client = guarded.client(account)
    body = {"Body": b"forged"} if action == "put_object" else {}
    with pytest.raises(ClientError) as refused:
        getattr(client, action)(Bucket=BUCKET, Key=key, **body)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_the_server_of_these_tests_enforces_policies(
    guarded: Guarded, services: Services, features: pipeline.Run, repository: Path
) -> None:
    """The trainer with the site's account: it may read features, and write nothing."""
    python = os.environ.get("RECSYS_TRAINER_PYTHON") or repository / "trainer/.venv/bin/python"
    run = features.model_copy(update={"run_nonce": "another-nonce"})
    trainer_input = pipeline.make_trainer_input(services, run, run.run_nonce)
    with pytest.raises(RecsysError, match="train") as refused:
        LocalTrainer(Path(python), repository).run(
            "train", trainer_input, guarded.settings("site").credentials()
        )
    assert not isinstance(refused.value, ConfigurationError)
