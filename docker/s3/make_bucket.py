"""Creates the bucket of the Airflow Connection ``recsys_s3`` if it does not exist."""

from __future__ import annotations

import json
import os

import boto3
from botocore.exceptions import ClientError


def main() -> None:
    """Creates the bucket; an error of botocore fails the container that runs this."""
    connection = json.loads(os.environ["AIRFLOW_CONN_RECSYS_S3"])
    extra = connection["extra"]
    client = boto3.client(
        "s3",
        endpoint_url=extra["endpoint_url"],
        region_name=extra["region_name"],
        aws_access_key_id=connection["login"],
        aws_secret_access_key=connection["password"],
    )
    bucket = extra["bucket_name"]
    try:
        client.head_bucket(Bucket=bucket)
        print(f"the bucket {bucket} already exists")
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"404", "NoSuchBucket"}:
            raise
        client.create_bucket(Bucket=bucket)
        print(f"created the bucket {bucket}")


if __name__ == "__main__":
    main()
