"""The release reader of a site that has public keys, with real PostgreSQL and S3."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest

from recsys.contract import MODEL_FILE, SIGNATURE_FILE, release_key
from recsys.releases import promote_release, sign_release
from recsys.services import Services
from release_reader import ReleaseReader
from release_signature import TrustedKeys, UnprovenReleaseError
from tests.actors import an_actor
from tests.release_maker import Releases
from tests.signing_keys import KeyPair, make_keys


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return make_keys(tmp_path, "first")


def reading(services: Services, folder: Path, trusted: TrustedKeys) -> ReleaseReader[bytes]:
    @contextmanager
    def connect() -> Any:
        with psycopg.connect(services.postgres.dsn.get_secret_value()) as conn:
            conn.execute("set role recsys_site")
            conn.commit()
            yield conn

    access, secret = services.s3.access_key, services.s3.secret_key
    assert access is not None
    assert secret is not None
    s3 = boto3.client(
        "s3",
        endpoint_url=services.s3.endpoint,
        region_name=services.s3.region,
        aws_access_key_id=access.get_secret_value(),
        aws_secret_access_key=secret.get_secret_value(),
    )
    return ReleaseReader(
        connect,
        s3,
        services.s3.bucket,
        folder / "models",
        lambda path, release: path.read_bytes(),
        trusted,
    )


def promote(services: Services, release_id: str) -> None:
    Releases(services).judge(release_id)
    promote_release(services, release_id, actor=an_actor())


def test_only_signed_releases_replace_the_one_in_use(
    services: Services, releases: Releases, keys: KeyPair, tmp_path: Path
) -> None:
    reader = reading(services, tmp_path, TrustedKeys(keys.public))
    first, second = releases.candidate(1), releases.candidate(2)
    promote(services, first)
    with pytest.raises(UnprovenReleaseError, match="it is not signed"):
        reader.refresh()
    assert reader.loaded is None
    sign_release(services, first, keys.key, actor=an_actor())
    assert reader.refresh()
    sign_release(services, second, make_keys(tmp_path, "other").key, actor=an_actor())
    promote(services, second)
    with pytest.raises(UnprovenReleaseError, match="found a signature of key"):
        reader.refresh()
    assert reader.live.release_id == first
    assert reader.live.model == releases.model_bytes(1)


def test_a_model_that_was_changed_in_s3_and_in_the_ledger_is_refused(
    services: Services, releases: Releases, keys: KeyPair, tmp_path: Path
) -> None:
    release_id = releases.candidate(1)
    sign_release(services, release_id, keys.key, actor=an_actor())
    promote(services, release_id)
    data = b"another model"
    services.store.put_bytes(release_key(release_id, MODEL_FILE), data)
    with services.connect() as conn:
        conn.execute(
            "update recsys.releases set manifest = replace(manifest::text, %s, %s)::jsonb",
            (hashlib.sha256(releases.model_bytes(1)).hexdigest(), hashlib.sha256(data).hexdigest()),
        )
    reader = reading(services, tmp_path, TrustedKeys(keys.public))
    with pytest.raises(UnprovenReleaseError, match=r"found model\.keras with sha256"):
        reader.refresh()


@pytest.mark.parametrize("change", ["of another", "damaged", "not a bundle", "changed payload"])
def test_a_wrong_signature_is_refused(
    services: Services, releases: Releases, keys: KeyPair, tmp_path: Path, change: str
) -> None:
    first, second = releases.candidate(1), releases.candidate(2)
    for release_id in (first, second):
        sign_release(services, release_id, keys.key, actor=an_actor())
    promote(services, first)
    key = release_key(first, SIGNATURE_FILE)
    good = services.store.get_bytes(key)
    wrong = {
        "of another": services.store.get_bytes(release_key(second, SIGNATURE_FILE)),
        "damaged": good[:-20],
        "not a bundle": b"[" * 50_000,
        "changed payload": good.replace(b'"payload":"ewog', b'"payload":"ewoK'),
    }[change]
    assert wrong != good
    services.store.put_bytes(key, wrong)
    with pytest.raises(UnprovenReleaseError, match=first):
        reading(services, tmp_path, TrustedKeys(keys.public)).refresh()


def test_keys_are_read_as_the_pipeline_reads_them(keys: KeyPair, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no public key"):
        TrustedKeys(keys.private)
    folder = tmp_path / "mounted"
    folder.mkdir()
    with pytest.raises(ValueError, match="no public key"):
        TrustedKeys(folder)
