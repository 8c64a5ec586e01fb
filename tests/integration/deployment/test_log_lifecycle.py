"""The lifecycle rule for Airflow's logs in the recommender's bucket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from recsys import contract
from recsys.object_store import S3Settings


@pytest.fixture
def rules(repository: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((repository / "docker/s3/log-lifecycle.json").read_text())
    return document


def test_it_is_about_airflows_logs_only(rules: dict[str, Any], repository: Path) -> None:
    values = yaml.safe_load((repository / "k8s/airflow-values.yaml").read_text())
    folder = values["config"]["logging"]["remote_base_log_folder"].removeprefix("s3://")
    [rule] = rules["Rules"]
    prefix = rule["Filter"]["Prefix"]
    assert prefix == folder.partition("/")[2] + "/"
    assert rule["Expiration"]["Days"] == values["databaseCleanup"]["retentionDays"]
    keys = [
        contract.release_key("0123abcd-0123abcd", contract.MODEL_FILE),
        contract.features_key("features/" + "0" * 32 + "/", contract.INTERACTIONS_FILE),
        contract.dataset_key("0" * 32, contract.DATASET_FILE),
        contract.PUBLIC_MODEL_KEY,
    ]
    assert not [key for key in keys if key.startswith(prefix)]


def test_a_server_accepts_it(rules: dict[str, Any], s3_settings: S3Settings) -> None:
    assert s3_settings.access_key is not None
    assert s3_settings.secret_key is not None
    client = boto3.client(
        "s3",
        endpoint_url=s3_settings.endpoint,
        region_name=s3_settings.region,
        aws_access_key_id=s3_settings.access_key.get_secret_value(),
        aws_secret_access_key=s3_settings.secret_key.get_secret_value(),
    )
    client.put_bucket_lifecycle_configuration(
        Bucket=s3_settings.bucket, LifecycleConfiguration=rules
    )
    found = client.get_bucket_lifecycle_configuration(Bucket=s3_settings.bucket)["Rules"]
    assert [rule["Filter"] for rule in found] == [{"Prefix": "airflow-logs/"}]
    assert [rule["Expiration"]["Days"] for rule in found] == [90]
