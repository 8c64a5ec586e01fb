"""An S3 server with one account for each policy of docker/s3, which it enforces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3

from recsys.embedded import stack
from recsys.embedded.home import Home
from recsys.embedded.processes import Command
from recsys.embedded.s3 import BUCKET, S3
from recsys.object_store import S3Settings

ACCOUNTS = ("pipeline", "trainer", "site", "spark")


@dataclass(frozen=True)
class Guarded:
    """A server with one account for each policy."""

    endpoint: str

    def settings(self, account: str) -> S3Settings:
        return S3Settings.model_validate(
            {
                "bucket": BUCKET,
                "endpoint": self.endpoint,
                "access_key": f"{account}-key",
                "secret_key": f"{account}-secret",
            }
        )

    def client(self, account: str) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=f"{account}-key",
            aws_secret_access_key=f"{account}-secret",
        )


@contextmanager
def guarded_server(repository: Path, folder: Path) -> Iterator[Guarded]:
    """Starts the server with its files below a folder, and stops it at the end."""
    home = Home(folder / "home")
    home.path.mkdir(mode=0o711)
    drawn = home.secrets()
    admin = {"accessKey": drawn.s3_access_key, "secretKey": drawn.s3_secret_key}
    policies = {
        name: (repository / f"docker/s3/{name}.json").read_text().replace("BUCKET", BUCKET)
        for name in ACCOUNTS
    }
    identities = [
        {"name": "admin", "actions": ["Admin"], "credentials": [admin]},
        *(
            {
                "name": name,
                "policyNames": [name],
                "credentials": [{"accessKey": f"{name}-key", "secretKey": f"{name}-secret"}],
            }
            for name in ACCOUNTS
        ),
    ]
    file = home.path / "identities.json"
    known = [{"name": name, "content": content} for name, content in policies.items()]
    file.write_text(json.dumps({"identities": identities, "policies": known}))

    with server_with_identities(home, file) as server:
        yield Guarded(server.address())


@contextmanager
def server_with_identities(home: Home, file: Path) -> Iterator[S3]:
    """Starts a server with the accounts and policies of a file, and stops it at the end."""

    class Store(S3):
        def command(self) -> Command:
            plain = super().command()
            return replace(plain, arguments=[*plain.arguments, f"-s3.config={file}"])

    server = Store(home)
    with home.lock():
        server.start()
    try:
        yield server
    finally:
        stack.stop(home)
