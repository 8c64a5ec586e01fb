"""Private and public keys: elliptic curves P-256, P-384 and P-521, in PEM files.

Errors name the file and never quote it: it may contain a private key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recsys.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

SIGNING_KEY_VARIABLE: Final = "RECSYS_SIGNING_KEY_FILE"
VERIFICATION_KEYS_VARIABLE: Final = "RECSYS_VERIFICATION_KEYS"
_MAX_BYTES: Final = 1 << 20
_PUBLIC: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
_CURVES: Final = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
"""By curve: the hash that model signing combines with it."""
_HOW_TO_MAKE: Final = "docs/proving-a-release.md shows how to make a pair of keys"


@dataclass(frozen=True)
class PublicKey:
    """A key that verifies signatures.

    Attributes:
        fingerprint: sha256 of the key as PEM, 64 hex digits; a signature names its key by it.
        source: the file that the key is from, for people.
    """

    fingerprint: str
    source: str = field(compare=False)
    key: ec.EllipticCurvePublicKey = field(repr=False, compare=False)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether this key's private key made the signature of the data."""
        from cryptography.exceptions import InvalidSignature

        try:
            self.key.verify(signature, data, _algorithm(self.key.curve.name))
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A private key; it has no text form, so that no log can contain it.

    Args:
        pem: the key, unencrypted.
        source: where it is from, for errors.

    Raises:
        ConfigurationError: it is not a private key on a supported curve.
    """

    def __init__(self, pem: bytes, source: str) -> None:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # The cause may quote the key.
            raise _invalid(source, "no unencrypted private key in PEM form") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
            raise _invalid(source, "a private key of another kind")
        self._key = key
        self.public = _public(key.public_key(), source)

    def sign(self, data: bytes) -> bytes:
        """Returns the signature (ECDSA, DER) of the data."""
        return self._key.sign(data, _algorithm(self._key.curve.name))


def find_signing_key(environ: Mapping[str, str]) -> SigningKey | None:
    """Returns the key of the file that ``RECSYS_SIGNING_KEY_FILE`` names; None if it is not set.

    Raises:
        ConfigurationError: there is no such file, or it contains no usable private key.
    """
    name = environ.get("RECSYS_SIGNING_KEY_FILE")
    return SigningKey(_read(Path(name), SIGNING_KEY_VARIABLE), name) if name else None


def read_public_keys(place: Path) -> tuple[PublicKey, ...]:
    """Returns the public keys of a PEM file, or of all files of a folder.

    Several keys are for a rotation: a signature by any of them is valid.

    Raises:
        ConfigurationError: there is no key, or a file contains something else.
    """
    # A mounted ConfigMap also has folders and links that begin with two dots.
    files = (
        sorted(path for path in place.iterdir() if path.is_file() and path.name[0] != ".")
        if place.is_dir()
        else [place]
    )
    keys = [key for path in files for key in _public_keys_of(path)]
    if not keys:
        raise _invalid(str(place), "no file in the folder", "public keys")
    return tuple({key.fingerprint: key for key in keys}.values())


def _public_keys_of(path: Path) -> list[PublicKey]:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = _read(path, VERIFICATION_KEYS_VARIABLE)
    if b"PRIVATE KEY" in data:
        raise _invalid(str(path), "a private key; keep it where only the pipeline reads it")
    found = []
    for pem in _PUBLIC.findall(data):
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            raise _invalid(str(path), "a damaged public key", "public keys") from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
            raise _invalid(str(path), "a public key of another kind", "public keys")
        found.append(_public(key, str(path)))
    if not found:
        raise _invalid(str(path), "no public key in PEM form", "public keys")
    return found


def _read(path: Path, variable: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise ConfigurationError(
            f"the key {path} cannot be read",
            found=error.strerror,
            expected=f"the file that {variable} names",
            hint=_HOW_TO_MAKE,
        ) from error


def _public(key: ec.EllipticCurvePublicKey, source: str) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(hashlib.sha256(pem).hexdigest(), source, key)


def _algorithm(curve: str) -> Any:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.ECDSA(getattr(hashes, _CURVES[curve])())


def _invalid(source: str, found: str, what: str = "a private key") -> ConfigurationError:
    return ConfigurationError(
        f"{source} is not the key that was expected",
        found=found,
        expected=f"{what} on the curve P-256, P-384 or P-521, in PEM form",
        hint=_HOW_TO_MAKE,
    )
