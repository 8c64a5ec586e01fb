"""Pairs of keys for signatures, as the guide makes them with OpenSSL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from recsys.signing import SigningKey


@dataclass(frozen=True)
class KeyPair:
    """A private key and the files of both keys."""

    key: SigningKey
    private: Path
    public: Path


def make_keys(folder: Path, name: str, curve: ec.EllipticCurve | None = None) -> KeyPair:
    """Makes ``name.pem`` and ``name.pub`` in a folder."""
    made = ec.generate_private_key(curve or ec.SECP256R1())
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private_file, public_file = folder / f"{name}.pem", folder / f"{name}.pub"
    private_file.write_bytes(pem)
    private_file.chmod(0o600)
    public_file.write_bytes(public)
    return KeyPair(SigningKey(pem, str(private_file)), private_file, public_file)
