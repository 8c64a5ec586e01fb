"""Makes the bucket that the Airflow Connection ``recsys_s3`` names, if it is not there."""

from __future__ import annotations

import json
import os

import boto3
from botocore.exceptions import ClientError


def main() -> None:
    """Raises botocore's errors: the container that runs this ends with them."""
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
        print(f"the bucket {bucket} is there")
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"404", "NoSuchBucket"}:
            raise
        client.create_bucket(Bucket=bucket)
        print(f"made the bucket {bucket}")


if __name__ == "__main__":
    main()
