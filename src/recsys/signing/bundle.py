"""Signature bundles: a payload in a DSSE envelope, in a Sigstore bundle, signed with a key.

The form is that of the library `model-signing`, and its command line verifies it; see ADR 31 for
why the library itself is not used here.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from recsys.errors import ArtifactError
from recsys.signing.keys import PublicKey, SigningKey

_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Verified:
    """The payload of a bundle whose signature is valid, and the key that made it."""

    payload: bytes
    key: PublicKey


def make_bundle(payload: bytes, key: SigningKey) -> bytes:
    """Returns a bundle with the signature of an in-toto statement, as JSON."""
    signature = {"sig": _encode(key.sign(_signed_bytes(payload))), "keyid": ""}
    return json.dumps(
        {
            "mediaType": _MEDIA_TYPE,
            "verificationMaterial": {
                "publicKey": {"hint": key.public.fingerprint},
                "tlogEntries": [],
            },
            "dsseEnvelope": {
                "payload": _encode(payload),
                "payloadType": _PAYLOAD_TYPE,
                "signatures": [signature],
            },
        },
        separators=(",", ":"),
    ).encode()


def verify_bundle(bundle: bytes, keys: Sequence[PublicKey], name: str) -> Verified:
    """Returns the payload of a bundle that one of the keys verifies.

    Args:
        bundle: its bytes.
        keys: the trusted keys.
        name: where the bundle is, for errors.

    Raises:
        ArtifactError: it is no bundle, it was signed with another key, or it was changed.
    """
    try:
        document = json.loads(bundle)
        envelope = document["dsseEnvelope"]
        payload, [signature] = _decode(envelope["payload"]), envelope["signatures"]
        made, hint = (
            _decode(signature["sig"]),
            document["verificationMaterial"]["publicKey"]["hint"],
        )
        payload_type = envelope["payloadType"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(
            f"{name} is not a signature",
            found=type(error).__name__,
            expected="a Sigstore bundle with one signature made with a key",
            hint="the file was changed or damaged: restore it, or use another release",
        ) from None
    key = next((key for key in keys if key.fingerprint == hint), None)
    if key is None:
        raise ArtifactError(
            f"{name} was made with a key that is not trusted here",
            found=f"key {str(hint)[:64]}",
            expected=f"key {' or '.join(key.fingerprint for key in keys)}",
            hint="find out who signed it; docs/proving-a-release.md explains the rotation of keys",
        )
    if payload_type != _PAYLOAD_TYPE or not key.verifies(made, _signed_bytes(payload)):
        raise ArtifactError(
            f"{name} is not a valid signature of its content",
            found="another content than was signed",
            expected=f"what key {key.fingerprint} signed",
            hint="the file was changed or damaged: restore it, or use another release",
        )
    return Verified(payload, key)


def _signed_bytes(payload: bytes) -> bytes:
    """Returns what is signed: DSSE's pre-authentication encoding of type and payload."""
    return b"DSSEv1 %d %b %d %b" % (
        len(_PAYLOAD_TYPE),
        _PAYLOAD_TYPE.encode(),
        len(payload),
        payload,
    )


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: Any) -> bytes:
    """Decodes base64; raises ValueError or TypeError for anything else."""
    if not isinstance(text, str):
        raise TypeError("not a text")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
