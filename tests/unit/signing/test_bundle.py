"""Bundles and keys, compared with the library `model-signing` in both directions."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import model_signing
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from recsys.errors import ArtifactError, ConfigurationError
from recsys.signing import (
    SigningKey,
    find_signing_key,
    make_bundle,
    make_statement,
    parse_statement,
    read_public_keys,
    verify_bundle,
)
from tests.signing_keys import KeyPair, make_keys

NAMES = ("manifest.json", "model.keras", "evaluated/model.keras", "towers/user_towers.parquet")
RELEASE = "01234567-89abcdef"
CURVES = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return make_keys(tmp_path, "first")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / RELEASE
    for name in NAMES:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(name)
    (made / "report.html").write_text("written later")
    return made


def statement(folder: Path) -> bytes:
    files = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in NAMES}
    return make_statement(RELEASE, files, {"model.sig", "report.html"})


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_the_library_accepts_our_signature(
    tmp_path: Path, folder: Path, curve: ec.EllipticCurve
) -> None:
    pair = make_keys(tmp_path, "other", curve)
    (folder / "model.sig").write_bytes(make_bundle(statement(folder), pair.key))
    verifier = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=pair.public)
    verifier.verify(folder, folder / "model.sig")
    (folder / "model.keras").write_text("another")
    with pytest.raises(ValueError, match=r"model\.keras"):
        verifier.verify(folder, folder / "model.sig")


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_we_accept_the_librarys_signature(
    tmp_path: Path, folder: Path, curve: ec.EllipticCurve
) -> None:
    pair = make_keys(tmp_path, "other", curve)
    signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=pair.private)
    signer.sign(folder, tmp_path / "theirs.sig")
    bundle = (tmp_path / "theirs.sig").read_bytes()
    verified = verify_bundle(bundle, read_public_keys(pair.public), "theirs.sig")
    signed = parse_statement(verified.payload, "theirs.sig")
    assert signed.release_id == RELEASE
    assert signed.sha256["model.keras"] == hashlib.sha256(b"model.keras").hexdigest()
    assert set(signed.sha256) == {*NAMES, "report.html"}


def test_a_signature_of_another_key_names_both(tmp_path: Path, folder: Path, keys: KeyPair) -> None:
    stranger = make_keys(tmp_path, "stranger")
    bundle = make_bundle(statement(folder), stranger.key)
    with pytest.raises(ArtifactError) as refused:
        verify_bundle(bundle, read_public_keys(keys.public), "model.sig")
    assert stranger.key.public.fingerprint in str(refused.value)
    assert keys.key.public.fingerprint in str(refused.value)


def test_a_key_that_only_claims_to_be_trusted_is_refused(
    tmp_path: Path, folder: Path, keys: KeyPair
) -> None:
    document = json.loads(make_bundle(statement(folder), make_keys(tmp_path, "stranger").key))
    document["verificationMaterial"]["publicKey"]["hint"] = keys.key.public.fingerprint
    with pytest.raises(ArtifactError, match="not a valid signature"):
        verify_bundle(json.dumps(document).encode(), read_public_keys(keys.public), "model.sig")


def change_payload(document: dict[str, Any]) -> None:
    envelope = document["dsseEnvelope"]
    changed = base64.b64decode(envelope["payload"]).replace(b"model.keras", b"model.kerat")
    envelope["payload"] = base64.b64encode(changed).decode()


def change_type(document: dict[str, Any]) -> None:
    document["dsseEnvelope"]["payloadType"] = "text/plain"


@pytest.mark.parametrize("change", [change_payload, change_type])
def test_a_changed_envelope_is_refused(folder: Path, keys: KeyPair, change: Any) -> None:
    document = json.loads(make_bundle(statement(folder), keys.key))
    change(document)
    with pytest.raises(ArtifactError, match="not a valid signature"):
        verify_bundle(json.dumps(document).encode(), read_public_keys(keys.public), "model.sig")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"null",
        b"[" * 100_000,
        b'{"dsseEnvelope": {"payload": 1, "signatures": [{}], "payloadType": ""}}',
        b'{"dsseEnvelope": {"payload": "%", "signatures": [{"sig": "%"}], "payloadType": ""}}',
        b'{"dsseEnvelope": {"payload": "", "signatures": [], "payloadType": ""}}',
    ],
)
def test_what_is_no_bundle_is_refused(keys: KeyPair, data: bytes) -> None:
    with pytest.raises(ArtifactError, match="is not a signature"):
        verify_bundle(data, read_public_keys(keys.public), "model.sig")


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b"[1]",
        b'{"_type": 1}',
        json.dumps({"_type": "https://in-toto.io/Statement/v1", "subject": []}).encode(),
        make_statement(RELEASE, {"a": "0" * 64}, ()).replace(b'"digest": "0', b'"digest": "1'),
        make_statement(RELEASE, {"a": "0" * 64}, ()).replace(b"signature/v1.0", b"other/v1.0"),
        make_statement(RELEASE, {"a": "0" * 64}, ()).replace(b'"sha256",', b'"blake2b",'),
    ],
)
def test_a_signed_statement_of_something_else_is_refused(payload: bytes) -> None:
    with pytest.raises(ArtifactError, match="signs something else"):
        parse_statement(payload, "model.sig")


def test_keys_are_read_from_a_file_with_several_and_from_a_mounted_folder(tmp_path: Path) -> None:
    old, new = make_keys(tmp_path, "old"), make_keys(tmp_path, "new")
    both = tmp_path / "both.pub"
    both.write_bytes(old.public.read_bytes() + new.public.read_bytes())
    prints = {old.key.public.fingerprint, new.key.public.fingerprint}
    assert {key.fingerprint for key in read_public_keys(both)} == prints
    # Kubernetes mounts a ConfigMap as links to files in a folder whose name begins with two dots.
    mounted = tmp_path / "mounted"
    (mounted / "..2026").mkdir(parents=True)
    (mounted / "..data").symlink_to("..2026")
    for pair in (old, new):
        (mounted / "..2026" / pair.public.name).write_bytes(pair.public.read_bytes())
        (mounted / pair.public.name).symlink_to(f"..data/{pair.public.name}")
    assert {key.fingerprint for key in read_public_keys(mounted)} == prints


def test_no_error_and_no_text_quotes_a_private_key(tmp_path: Path, keys: KeyPair) -> None:
    secret = keys.private.read_text().splitlines()[1]
    damaged = tmp_path / "damaged.pem"
    damaged.write_text(keys.private.read_text().replace("-----END", "-----ND"))
    shown = [repr(keys.key), str(keys.key), repr(keys)]
    for read in (
        lambda: read_public_keys(keys.private),
        lambda: find_signing_key({"RECSYS_SIGNING_KEY_FILE": str(damaged)}),
        lambda: SigningKey(keys.public.read_bytes(), "public"),
        lambda: SigningKey(secret.encode(), "the Airflow Connection recsys_signing"),
        lambda: find_signing_key({"RECSYS_SIGNING_KEY_FILE": str(tmp_path / "none")}),
        lambda: read_public_keys(tmp_path / "none"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            read()
        shown += [str(refused.value), repr(refused.value.__cause__)]
    assert not [text for text in shown if secret in text]
    assert find_signing_key({}) is None
