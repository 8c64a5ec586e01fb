"""The S3 accounts of docker-compose.yaml on a real server, and the creation of the bucket."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError

from recsys.embedded.home import Home
from recsys.embedded.s3 import BUCKET, S3
from tests.s3_accounts import server_with_identities


@pytest.fixture
def store(repository: Path, home: Home) -> Iterator[S3]:
    """A server with the identities of the compose file; the pipeline's are the home's own."""
    compose = yaml.safe_load((repository / "docker-compose.yaml").read_text())
    home.path.mkdir(parents=True, exist_ok=True)
    drawn = home.secrets()
    given = {
        "S3_ACCESS_KEY": drawn.s3_access_key,
        "S3_SECRET_KEY": drawn.s3_secret_key,
        "SITE_S3_ACCESS_KEY": "site-key",
        "SITE_S3_SECRET_KEY": "site-secret",
        "TRAINER_S3_ACCESS_KEY": "trainer-key",
        "TRAINER_S3_SECRET_KEY": "trainer-secret",
        "S3_BUCKET": BUCKET,
    }
    content = compose["configs"]["s3-identities"]["content"]
    text = re.sub(r"\$\{(\w+)[^}]*\}", lambda found: given[found[1]], content)
    [policy] = json.loads(text)["policies"]
    shipped = (repository / "docker/s3/trainer.json").read_text().replace("BUCKET", BUCKET)
    assert json.loads(policy["content"]) == json.loads(shipped)
    file = home.path / "identities.json"
    file.write_text(text)

    with server_with_identities(home, file) as server:
        yield server


def client(store: S3, key: str, secret: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.address(),
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


def test_site_and_trainer_do_what_they_need_and_no_more_and_the_bucket_is_made_once(
    store: S3, repository: Path
) -> None:
    drawn = store.home.secrets()
    connection = {
        "login": drawn.s3_access_key,
        "password": drawn.s3_secret_key,
        "extra": {
            "endpoint_url": store.address(),
            "region_name": "us-east-1",
            "bucket_name": "another",
        },
    }
    for said in ("created the bucket another", "the bucket another already exists"):
        done = subprocess.run(
            [sys.executable, str(repository / "docker/s3/make_bucket.py")],
            env={**os.environ, "AIRFLOW_CONN_RECSYS_S3": json.dumps(connection)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip() == said, done.stderr

    pipeline = client(store, drawn.s3_access_key, drawn.s3_secret_key)
    trainer = client(store, "trainer-key", "trainer-secret")
    site = client(store, "site-key", "site-secret")
    pipeline.put_object(Bucket=BUCKET, Key="releases/x/model.keras", Body=b"model")
    pipeline.put_object(Bucket="another", Key="secret", Body=b"not the site's")
    read = site.get_object(Bucket=BUCKET, Key="releases/x/model.keras")
    assert read["Body"].read() == b"model"
    trainer.head_bucket(Bucket=BUCKET)
    pipeline.put_object(Bucket=BUCKET, Key="datasets/x/dataset.zip", Body=b"zip")
    trainer.head_object(Bucket=BUCKET, Key="datasets/x/dataset.zip")
    read = trainer.get_object(Bucket=BUCKET, Key="releases/x/model.keras")
    assert read["Body"].read() == b"model"
    trainer.put_object(Bucket=BUCKET, Key="incoming/x/model.keras", Body=b"candidate")
    trainer.put_object(Bucket=BUCKET, Key="incoming/y/manifest.json", Body=b"{}")
    trainer.delete_object(Bucket=BUCKET, Key="incoming/y/manifest.json")
    with pytest.raises(trainer.exceptions.NoSuchKey):
        trainer.get_object(Bucket=BUCKET, Key="incoming/y/manifest.json")
    for refused in (
        lambda: trainer.put_object(Bucket=BUCKET, Key="latest_model.keras", Body=b"forged"),
        lambda: trainer.put_object(Bucket=BUCKET, Key="features/x/movies.parquet", Body=b"forged"),
        lambda: trainer.get_object(Bucket="another", Key="secret"),
        lambda: site.put_object(Bucket=BUCKET, Key="latest_model.keras", Body=b"forged"),
        lambda: site.delete_object(Bucket=BUCKET, Key="releases/x/model.keras"),
        lambda: site.get_object(Bucket="another", Key="secret"),
        lambda: site.create_bucket(Bucket="mine-own"),
        lambda: client(store, "site-key", "wrong").list_objects_v2(Bucket=BUCKET),
        lambda: trainer.put_object(Bucket=BUCKET, Key="latest_model.keras", Body=b"forged"),
        lambda: trainer.put_object(Bucket=BUCKET, Key="releases/x/model.keras", Body=b"forged"),
        lambda: trainer.delete_object(Bucket=BUCKET, Key="releases/x/model.keras"),
        lambda: trainer.copy_object(
            Bucket=BUCKET,
            Key="releases/x/model.keras",
            CopySource={"Bucket": BUCKET, "Key": "incoming/x/model.keras"},
        ),
        lambda: trainer.put_object(Bucket=BUCKET, Key="features/x/stats.json", Body=b"forged"),
        lambda: trainer.put_object(Bucket=BUCKET, Key="incoming", Body=b"beside the inbox"),
    ):
        with pytest.raises(ClientError) as error:
            refused()
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
