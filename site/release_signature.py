"""Verifies the signature of a release with public keys only, before its model is loaded.

The signature is a bundle in the format of OpenSSF model signing: an in-toto statement with the
sha256 of each file, in a DSSE envelope. It needs the package `cryptography`. `release_reader` uses
it if a site has public keys: copy both files.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

MODEL: Final = "model.keras"
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://model_signing/signature/v1.0"
_PEM: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
_HASHES: Final = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}


class UnprovenReleaseError(Exception):
    """A release has no signature of a trusted key, or is not what was signed."""


class TrustedKeys:
    """The public keys that releases must be signed with; one of them is enough.

    Args:
        place: a PEM file, or a folder of such files, as a mounted ConfigMap is.

    Raises:
        ValueError: there is no key on the curve P-256, P-384 or P-521.
        OSError: a file cannot be read.
    """

    def __init__(self, place: Path) -> None:
        files = [place]
        if place.is_dir():
            files = [p for p in sorted(place.iterdir()) if p.is_file() and p.name[0] != "."]
        self._keys = {
            fingerprint: key
            for path in files
            for pem in _PEM.findall(path.read_bytes())
            for fingerprint, key in [_load(pem, path)]
        }
        if not self._keys:
            raise ValueError(f"{place}: found no public key in PEM form")

    def check(self, bundle: bytes, release_id: str, model_sha256: str) -> None:
        """Raises UnprovenReleaseError unless a trusted key has signed this model of this release.

        Args:
            bundle: the object ``releases/<id>/model.sig``.
            release_id: the release that the database names.
            model_sha256: sha256 of its model, which the database names.
        """
        try:
            files = self._signed_files(json.loads(bundle), release_id)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UnprovenReleaseError(
                f"release {release_id}: {MODEL} has no readable signature"
            ) from error
        if files.get(MODEL) != model_sha256:
            raise UnprovenReleaseError(
                f"release {release_id}: found {MODEL} with sha256 {model_sha256}, "
                f"signed was {files.get(MODEL)}"
            )

    def _signed_files(self, document: Any, release_id: str) -> Mapping[str, Any]:
        envelope = document["dsseEnvelope"]
        [signature] = envelope["signatures"]
        hint = document["verificationMaterial"]["publicKey"]["hint"]
        key = self._keys.get(hint)
        if key is None:
            raise UnprovenReleaseError(
                f"release {release_id}: found a signature of key {str(hint)[:64]}, "
                f"trusted are {', '.join(self._keys)}"
            )
        payload = base64.b64decode(envelope["payload"], validate=True)
        made = base64.b64decode(signature["sig"], validate=True)
        if envelope["payloadType"] != _PAYLOAD_TYPE or not _verifies(key, made, payload):
            raise UnprovenReleaseError(f"release {release_id}: its signature was changed")
        statement = json.loads(payload)
        [subject], predicate = statement["subject"], statement["predicate"]
        if (statement["_type"], statement["predicateType"]) != (_STATEMENT, _PREDICATE):
            raise UnprovenReleaseError(f"release {release_id}: something else was signed")
        if subject["name"] != release_id:
            raise UnprovenReleaseError(
                f"release {release_id}: found the signature of {str(subject['name'])[:64]}"
            )
        return {
            each["name"]: each["digest"]
            for each in predicate["resources"]
            if each["algorithm"] == "sha256"
        }


def _load(pem: bytes, path: Path) -> tuple[str, Any]:
    """Returns a key and its fingerprint, by which signatures name it."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_public_key,
    )

    key = load_pem_public_key(pem)
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise ValueError(f"{path}: found a key of another kind, expected P-256, P-384 or P-521")
    canonical = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(canonical).hexdigest(), key


def _verifies(key: Any, signature: bytes, payload: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    # DSSE signs the type together with the payload.
    signed = b"DSSEv1 %d %b %d %b" % (
        len(_PAYLOAD_TYPE),
        _PAYLOAD_TYPE.encode(),
        len(payload),
        payload,
    )
    try:
        key.verify(signature, signed, ec.ECDSA(getattr(hashes, _HASHES[key.curve.name])()))
    except InvalidSignature:
        return False
    return True
