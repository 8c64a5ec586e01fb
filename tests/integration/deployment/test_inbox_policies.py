"""The bucket policies in docker/s3 on a server that enforces them: who may write what."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from recsys.contract import (
    EVALUATED_MODEL_FILE,
    INTERACTIONS_FILE,
    MODEL_FILE,
    OWNER_KEY,
    PUBLIC_MODEL_KEY,
    PUBLIC_POINTER_KEY,
    checkpoint_key,
    dataset_key,
    features_key,
    inbox_key,
    release_key,
    staging_key,
)
from recsys.embedded.home import Home
from recsys.embedded.processes import Command
from recsys.embedded.s3 import BUCKET, REGION, S3
from recsys.object_store import S3Settings
from recsys.pipeline import check_candidate
from recsys.releases import promote_release
from recsys.services import Services
from tests.actors import an_actor
from tests.integration.pipeline.test_hostile_model import ReleasesWithZips
from tests.integration.pipeline.test_inbox import assert_admitted, train

ACCOUNTS = ("pipeline", "site", "trainer")
RELEASE, NONCE, MD5 = "0123abcd-4567ef89", "n" * 32, "0" * 32


@pytest.fixture(scope="module")
def policed(repository: Path) -> Iterator[S3]:
    """A server with one account for each policy, besides the home's own."""
    with tempfile.TemporaryDirectory(prefix="recsys-tests-") as folder:
        home = Home(Path(folder))
        own = home.secrets()
        identities: list[dict[str, Any]] = [
            {
                "name": "admin",
                "actions": ["Admin"],
                "credentials": [{"accessKey": own.s3_access_key, "secretKey": own.s3_secret_key}],
            },
            *(
                {
                    "name": name,
                    "policyNames": [name],
                    "credentials": [{"accessKey": f"{name}-key", "secretKey": f"{name}-secret"}],
                }
                for name in ACCOUNTS
            ),
        ]
        policies = [
            {
                "name": name,
                "content": (repository / f"docker/s3/{name}.json")
                .read_text()
                .replace("BUCKET", BUCKET),
            }
            for name in ACCOUNTS
        ]
        file = home.path / "identities.json"
        file.write_text(json.dumps({"identities": identities, "policies": policies}))

        class Policed(S3):
            def command(self) -> Command:
                plain = super().command()
                return replace(plain, arguments=[*plain.arguments, f"-s3.config={file}"])

        server = Policed(home)
        with home.lock():
            server.start()
        yield server
        with home.lock():
            server.stop()


def client(server: S3, name: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.address(),
        region_name=REGION,
        aws_access_key_id=f"{name}-key",
        aws_secret_access_key=f"{name}-secret",
    )


def status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def test_the_trainer_writes_to_its_inbox_and_to_nothing_else(policed: S3) -> None:
    trainer, admin = client(policed, "trainer"), policed.client()
    mine = [inbox_key(RELEASE, NONCE, MODEL_FILE), checkpoint_key(RELEASE, "scout")]
    for key in mine:
        trainer.put_object(Bucket=BUCKET, Key=key, Body=b"candidate")
        assert trainer.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"candidate"
    released = [release_key(RELEASE, name) for name in (MODEL_FILE, EVALUATED_MODEL_FILE)]
    features = features_key(f"features/{MD5}/", INTERACTIONS_FILE)
    others = [
        *released,
        features,
        dataset_key(MD5, "dataset.zip"),
        PUBLIC_MODEL_KEY,
        PUBLIC_POINTER_KEY,
        OWNER_KEY,
        staging_key(MODEL_FILE),
    ]
    for key in others:
        admin.put_object(Bucket=BUCKET, Key=key, Body=b"whole")
        for refused in (
            lambda key=key: trainer.put_object(Bucket=BUCKET, Key=key, Body=b"forged"),
            lambda key=key: trainer.delete_object(Bucket=BUCKET, Key=key),
            lambda key=key: trainer.create_multipart_upload(Bucket=BUCKET, Key=key),
            lambda key=key: trainer.copy_object(
                Bucket=BUCKET, Key=key, CopySource={"Bucket": BUCKET, "Key": mine[0]}
            ),
        ):
            with pytest.raises(ClientError) as error:
                refused()
            assert status(error.value) == 403, key
        assert admin.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"whole"
    # It reads what it trains on and what it compares with, and learns what does not exist.
    for key in (*released, features):
        assert trainer.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"whole"
    for key in (inbox_key(RELEASE, NONCE, "none"), release_key(RELEASE, "none")):
        with pytest.raises(ClientError) as error:
            trainer.get_object(Bucket=BUCKET, Key=key)
        assert status(error.value) == 404
    for key in mine:
        trainer.delete_object(Bucket=BUCKET, Key=key)
    admin.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in others]})


def test_the_pipelines_account_moves_a_candidate_and_promotes_it(
    policed: S3, services: Services
) -> None:
    s3 = S3Settings(
        bucket=BUCKET,
        endpoint=policed.address(),
        region=REGION,
        access_key=SecretStr("pipeline-key"),
        secret_key=SecretStr("pipeline-secret"),
    )
    maker = ReleasesWithZips(Services(postgres=services.postgres, s3=s3))
    run = train(maker, 1)
    check_candidate(maker.services, run)
    assert_admitted(maker, run)
    served = maker.candidate(2)
    promote_release(maker.services, served, actor=an_actor())
    site = client(policed, "site")
    for key in (PUBLIC_MODEL_KEY, PUBLIC_POINTER_KEY, release_key(served, MODEL_FILE)):
        site.get_object(Bucket=BUCKET, Key=key)
    candidate = inbox_key(run.release_id, run.run_nonce, MODEL_FILE)
    policed.client().put_object(Bucket=BUCKET, Key=candidate, Body=b"not checked")
    with pytest.raises(ClientError) as error:
        site.get_object(Bucket=BUCKET, Key=candidate)
    assert status(error.value) == 403
