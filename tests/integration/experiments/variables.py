"""The environment of a user whose dataset is in S3."""

from __future__ import annotations

from recsys.object_store import S3Settings


def client_variables(s3: S3Settings) -> dict[str, str]:
    """The environment of a user whose bucket is another one than the dataset's."""
    assert s3.access_key
    assert s3.secret_key
    return {
        "AWS_EC2_METADATA_DISABLED": "true",
        "RECSYS_S3_BUCKET": "artifacts",
        "RECSYS_S3_ENDPOINT": str(s3.endpoint),
        "AWS_ACCESS_KEY_ID": s3.access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": s3.secret_key.get_secret_value(),
    }
