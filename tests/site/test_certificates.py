"""An object store with a certificate of a private authority."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from botocore.exceptions import SSLError
from pydantic import SecretStr

from recsys_site.releases import open_s3_client
from recsys_site.settings import SiteSettings
from tests.s3_stand_in import s3_stand_in

VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")

MAKE = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext"


def make_certificate(path: Path) -> Path:
    """Writes key and certificate into one file; the site's environment has no library for it."""
    key, certificate = path.with_suffix(".key"), path.with_suffix(".crt")
    subprocess.run(
        [*MAKE.split(), "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    path.write_bytes(key.read_bytes() + certificate.read_bytes())
    return path


def test_each_variable_names_the_authority(tmp_path, monkeypatch):
    certificate = make_certificate(tmp_path / "certificate.pem")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with s3_stand_in(certificate) as server:
        server.objects["key"] = (b"words", {})
        word = SecretStr("word")
        settings = SiteSettings(
            dsn=SecretStr("host=localhost"),
            s3_bucket="bucket",
            s3_endpoint=server.url,
            access_key=word,
            secret_key=word,
        )
        for name in VARIABLES:
            monkeypatch.setenv(name, str(certificate))
            answer = open_s3_client(settings).get_object(Bucket="bucket", Key="key")
            assert answer["Body"].read() == b"words", name
            monkeypatch.delenv(name)
        with pytest.raises(SSLError, match="self-signed certificate"):
            open_s3_client(settings).get_object(Bucket="bucket", Key="key")
