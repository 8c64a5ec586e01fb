"""An object store with a certificate of a private authority."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from botocore.exceptions import SSLError
from pydantic import SecretStr

from recsys_site.__main__ import main
from recsys_site.releases import open_s3_client
from recsys_site.settings import SiteSettings
from tests.s3_stand_in import s3_stand_in

VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")

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


def hashed_folder(certificate: Path) -> Path:
    folder = certificate.parent / "hashed"
    folder.mkdir()
    command = ["openssl", "x509", "-hash", "-noout", "-in", certificate]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    (folder / f"{name}.0").write_bytes(certificate.read_bytes())
    return folder


def test_each_variable_names_the_authority(tmp_path, monkeypatch):
    certificate = make_certificate(tmp_path / "certificate.pem")
    folder = hashed_folder(certificate)
    for name in (*VARIABLES, "SSL_CERT_DIR"):
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
        named = [(name, path) for name in VARIABLES for path in (certificate, folder)]
        for name, path in [*named, ("SSL_CERT_DIR", folder)]:
            monkeypatch.setenv(name, str(path))
            answer = open_s3_client(settings).get_object(Bucket="bucket", Key="key")
            assert answer["Body"].read() == b"words", name
            monkeypatch.delenv(name)
        with pytest.raises(SSLError, match="self-signed certificate"):
            open_s3_client(settings).get_object(Bucket="bucket", Key="key")


def test_the_site_does_not_start_with_a_variable_that_names_no_certificates(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_SITE_DSN", "host=localhost")
    monkeypatch.setenv("RECSYS_SITE_S3_BUCKET", "bucket")
    for name in (*VARIABLES, "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in (*VARIABLES, "SSL_CERT_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
        with pytest.raises(SystemExit) as refused:
            main()
        assert name in str(refused.value)
        assert f"found {tmp_path}" in str(refused.value)
        assert "openssl rehash" in str(refused.value)
        monkeypatch.delenv(name)
