"""What a server stored is compared with what was sent, after each upload."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.dataset import FetchSettings, fetch_dataset
from recsys.errors import ConfigurationError, PermanentError, TransientError
from recsys.object_store import ObjectStore
from tests.s3_proxy import make_certificate
from tests.s3_stand_in import StandIn, s3_stand_in
from tests.web_server import MD5, ZIP, Web

CONTENTS = {"small": b"words" * 100, "parts": b"ab" * (6 << 20)}
every_size = pytest.mark.parametrize("size", CONTENTS)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """With TLS: boto3 sends trailers over TLS only."""
    certificate = make_certificate(tmp_path / "certificate.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    with s3_stand_in(certificate) as made:
        yield made


def upload(server: StandIn, content: bytes, folder: Path) -> None:
    (folder / "file").write_bytes(content)
    store = ObjectStore.connect(server.settings())
    store.put_file("key", folder / "file", {"sha256": hashlib.sha256(content).hexdigest()})


@every_size
def test_a_correct_server_gets_one_more_request_and_is_not_read(
    server: StandIn, tmp_path: Path, size: str
) -> None:
    upload(server, CONTENTS[size], tmp_path)
    assert server.objects["key"][0] == CONTENTS[size]
    assert server.count("HEAD") == 1
    assert server.count("GET key") == 0


@every_size
def test_framing_that_became_content_is_named(server: StandIn, tmp_path: Path, size: str) -> None:
    server.decodes = False
    with pytest.raises(ConfigurationError, match="other bytes than were sent") as failed:
        upload(server, CONTENTS[size], tmp_path)
    assert "AWS_REQUEST_CHECKSUM_CALCULATION=when_required" in failed.value.hint
    assert str(len(CONTENTS[size])) in str(failed.value.expected)
    # What nobody may use is not left behind.
    assert server.objects == {}


def test_with_the_setting_such_a_server_works(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.decodes = False
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    for content in CONTENTS.values():
        upload(server, content, tmp_path)
        assert server.objects["key"][0] == content


@every_size
def test_lost_and_changed_bytes_are_found(server: StandIn, tmp_path: Path, size: str) -> None:
    def lose(body: bytes) -> bytes:
        return body[:-1]

    def change(body: bytes) -> bytes:
        return b"x" + body[1:]

    for damage in (lose, change):
        server.damage = damage
        with pytest.raises(TransientError, match="other bytes than were sent"):
            upload(server, CONTENTS[size], tmp_path)
        store = ObjectStore.connect(server.settings())
        with pytest.raises(TransientError, match="other bytes than were sent"):
            store.put_bytes("key", CONTENTS["small"])
        with pytest.raises(TransientError, match="other bytes than were sent"):
            store.create_bytes(damage.__name__, CONTENTS["small"])


@every_size
def test_a_server_whose_etag_is_no_md5_is_read_back(
    server: StandIn, tmp_path: Path, size: str
) -> None:
    server.etag = lambda body: "opaque"
    upload(server, CONTENTS[size], tmp_path)
    assert server.count("GET key") == 1
    server.damage = lambda body: b"x" + body[1:]
    with pytest.raises(TransientError, match="other bytes than were sent"):
        upload(server, CONTENTS[size], tmp_path)


def test_small_objects_need_no_further_request(server: StandIn) -> None:
    store = ObjectStore.connect(server.settings())
    store.put_bytes("key", b"words")
    assert server.requests == ["PUT key"]


def test_a_damaged_dataset_heals(web: Web, object_store: ObjectStore) -> None:
    source, settings = web.publish(), FetchSettings(first_wait_s=0.01)
    fetched = fetch_dataset(source, MD5, object_store, settings=settings)
    metadata = {"md5": MD5, "sha256": fetched.sha256}
    for content in (ZIP[:-1], b"400;chunk-signature=0\r\n" + ZIP, b"x" * len(ZIP), b""):
        object_store.put_bytes(fetched.key, content, metadata)
        assert fetch_dataset(source, MD5, object_store, settings=settings).fetched
        assert object_store.get_bytes(fetched.key) == ZIP
        assert not fetch_dataset(source, MD5, object_store, settings=settings).fetched


@pytest.mark.parametrize(
    "refusal",
    [
        # Ceph, Google's and others: boto/boto3#4398, #4400.
        (411, "MissingContentLength"),
        (400, "XAmzContentSHA256Mismatch"),
        (403, "SignatureDoesNotMatch"),
        (501, "NotImplemented"),
    ],
)
def test_a_server_that_refuses_the_framing_is_named(
    server: StandIn, tmp_path: Path, refusal: tuple[int, str]
) -> None:
    server.refuses = refusal
    with pytest.raises(PermanentError) as refused:
        upload(server, b"words", tmp_path)
    assert refusal[1] in str(refused.value.found)
    assert "AWS_REQUEST_CHECKSUM_CALCULATION=when_required" in refused.value.hint
