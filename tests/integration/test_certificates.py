"""Servers of a private certificate authority: for sources, S3 and the site's S3 client alike."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import certifi
import pytest
from pydantic import SecretStr

from recsys.dataset import FetchSettings, credentials_for, read_source_md5
from recsys.errors import ConfigurationError
from recsys.object_store import ObjectStore, S3Settings, trusted_file
from tests.s3_proxy import make_certificate
from tests.s3_stand_in import StandIn, s3_stand_in
from tests.sts_server import sts_server
from tests.web_server import MD5

VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
SETTINGS = FetchSettings(first_wait_s=60)
"""A test that waited for a second attempt would not end."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls") / "certificate.pem")


@pytest.fixture
def server(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """An S3 server whose objects are at plain URLs, too."""
    for name in ("AWS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR", *VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with s3_stand_in(certificate) as made:
        made.objects["ml.zip.md5"] = (MD5.encode(), {})
        yield made


def source(server: StandIn) -> str:
    return f"{server.url}/bucket/ml.zip"


def test_an_unknown_authority_of_a_source_is_permanent_and_names_the_variables(
    server: StandIn,
) -> None:
    with pytest.raises(ConfigurationError, match="is not trusted") as refused:
        read_source_md5(source(server), settings=SETTINGS)
    assert "self-signed certificate" in str(refused.value.found)
    assert all(name in refused.value.hint for name in VARIABLES)


def test_an_unknown_authority_of_s3_is_permanent_and_names_the_variables(
    server: StandIn, tmp_path: Path
) -> None:
    store = ObjectStore.connect(server.settings().model_copy(update={"max_attempts": 1000}))
    (tmp_path / "file").write_bytes(b"words")
    for attempt in (
        lambda: store.head("ml.zip.md5"),
        lambda: store.put_file("key", tmp_path / "file"),
    ):
        with pytest.raises(ConfigurationError, match="is not trusted") as refused:
            attempt()
        assert "self-signed certificate" in str(refused.value.found)
        assert all(name in refused.value.hint for name in ("AWS_CA_BUNDLE", *VARIABLES))


@pytest.mark.parametrize("name", VARIABLES)
def test_the_variable_names_the_authority_of_sources_and_s3(
    server: StandIn, certificate: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(certificate))
    assert read_source_md5(source(server), settings=SETTINGS) == MD5
    assert ObjectStore.connect(server.settings()).get_bytes("ml.zip.md5") == MD5.encode()


@pytest.fixture
def folder(certificate: Path, tmp_path: Path) -> Path:
    """A folder as ``openssl rehash`` leaves it, with a file that is no certificate."""
    (tmp_path / "folder").mkdir()
    for name in ("authority.pem", f"{subject_hash(certificate)}.0"):
        (tmp_path / "folder" / name).write_bytes(certificate.read_bytes())
    (tmp_path / "folder" / "00000000.0").write_text("no certificate")
    return tmp_path / "folder"


def subject_hash(certificate: Path) -> str:
    command = ["openssl", "x509", "-hash", "-noout", "-in", certificate]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    "variables",
    [
        {"SSL_CERT_DIR": "{folder}"},
        # As OpenSSL reads them: several folders, some of which may not exist, and a file.
        {"SSL_CERT_DIR": "/nowhere:{folder}"},
        {"SSL_CERT_DIR": "{folder}", "SSL_CERT_FILE": certifi.where()},
        {"SSL_CERT_DIR": "/nowhere", "SSL_CERT_FILE": "{certificate}"},
        {"REQUESTS_CA_BUNDLE": "{folder}", "SSL_CERT_FILE": certifi.where()},
        {"CURL_CA_BUNDLE": "{folder}"},
    ],
    ids=str,
)
def test_a_folder_of_hashed_certificates_is_read_as_by_openssl(
    server: StandIn,
    certificate: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(folder=folder, certificate=certificate))
    assert read_source_md5(source(server), settings=SETTINGS) == MD5
    assert ObjectStore.connect(server.settings()).get_bytes("ml.zip.md5") == MD5.encode()


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_the_server_that_gives_keys_to_a_web_identity_is_trusted_too(
    server: StandIn,
    certificate: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    for word in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(word, raising=False)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/pipeline")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(certificate))
    monkeypatch.setenv(name, str(folder if name == "SSL_CERT_DIR" else certificate))
    with sts_server(certificate) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        settings = S3Settings(bucket="bucket", endpoint=server.url)
        assert ObjectStore.connect(settings).get_bytes("ml.zip.md5") == MD5.encode()
        assert [asked["Action"] for asked in sts.requests] == ["AssumeRoleWithWebIdentity"]


@pytest.mark.parametrize("by", ["AWS_CA_BUNDLE", "RECSYS_S3_VERIFY"])
def test_a_folder_that_is_set_for_s3_is_read(
    server: StandIn, folder: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    settings = server.settings()
    if by == "AWS_CA_BUNDLE":
        monkeypatch.setenv(by, str(folder))
    else:
        settings = settings.model_copy(update={"verify": str(folder)})
    assert ObjectStore.connect(settings).get_bytes("ml.zip.md5") == MD5.encode()


def test_a_folder_without_hashed_names_says_how_to_make_them(
    server: StandIn, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "authority.pem").write_bytes(certificate.read_bytes())
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    for attempt in (
        lambda: read_source_md5(source(server), settings=SETTINGS),
        lambda: ObjectStore.connect(server.settings()).head("key"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            attempt()
        assert str(tmp_path) in str(refused.value.found)
        assert "openssl rehash" in str(refused.value.expected)
        assert "SSL_CERT_DIR" in refused.value.hint


def test_a_server_without_tls_needs_no_bundle(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_CA_BUNDLE", "CURL_CA_BUNDLE", *VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(certificate.parent / "none"))
    for scheme, is_read in (("http", False), ("https", True)):
        settings = S3Settings(
            bucket="bucket",
            endpoint=f"{scheme}://127.0.0.1:9",
            access_key=SecretStr("key"),
            secret_key=SecretStr("secret"),
        )
        with pytest.raises(ConfigurationError) if is_read else nullcontext():
            ObjectStore.connect(settings)


def test_a_fork_reads_a_folder_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    path = trusted_file()
    assert trusted_file() == path, "one file for the process"
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(trusted_file).result() == path
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        found = trusted_file()
        os.write(write, Path(found or "/nowhere").read_bytes())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as answer:
        assert answer.read() == Path(path or "/nowhere").read_bytes()
    assert os.waitpid(child, 0)[1] == 0


def test_the_site_has_the_same_module(repository: Path) -> None:
    original = repository / "src" / "recsys" / "object_store" / "authorities.py"
    assert (repository / "site" / "certificate_authorities.py").read_bytes() == (
        original.read_bytes()
    )


def test_the_variable_of_aws_comes_first_for_s3(
    server: StandIn, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("SSL_CERT_FILE", ssl.get_default_verify_paths().cafile or "/nowhere")
    assert ObjectStore.connect(server.settings()).get_bytes("ml.zip.md5") == MD5.encode()


@pytest.mark.parametrize("content", [None, "no certificate"])
@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_that_names_no_bundle_is_named(
    server: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: str | None,
) -> None:
    path = tmp_path / "bundle.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv(name, str(path))
    with pytest.raises(ConfigurationError, match=name) as refused:
        read_source_md5(source(server), settings=SETTINGS)
    assert str(path) in str(refused.value.found)
    with pytest.raises(ConfigurationError) as refused:
        ObjectStore.connect(server.settings()).head("key")
    assert name in refused.value.hint


def test_a_certificate_of_another_name_says_so(
    server: StandIn, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(ConfigurationError, match="is not trusted") as refused:
        read_source_md5(source(server).replace("127.0.0.1", "localhost"), settings=SETTINGS)
    assert "use the name that the certificate has" in refused.value.hint


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_the_certificates_of_credentials_are_for_their_server_only(
    server: StandIn, certificate: Path, tmp_path: Path
) -> None:
    """As the fields `verify` and `cert` of a Connection."""
    for verify in (str(certificate), False):
        ours = credentials_for("the test", server.url, verify=verify)
        assert read_source_md5(source(server), settings=SETTINGS.with_credentials(ours)) == MD5
        elsewhere = credentials_for("the test", "https://localhost", verify=verify)
        with pytest.raises(ConfigurationError, match="is not trusted"):
            read_source_md5(source(server), settings=SETTINGS.with_credentials(elsewhere))
    with pytest.raises(ConfigurationError, match="verify of the test names no bundle"):
        credentials_for("the test", server.url, verify=str(tmp_path / "nothing"))
    with pytest.raises(ConfigurationError, match="certificate that does not exist"):
        credentials_for("the test", server.url, certificate=str(tmp_path / "nothing"))
