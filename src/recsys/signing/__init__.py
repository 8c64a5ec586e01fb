"""Signatures of releases and their provenance: bytes in, bytes out, no server.

A signature is a bundle in the format of OpenSSF model signing, so that anybody can verify it with
the public key and the tools of that project (ADR 31).
"""

from recsys.signing.bundle import Verified, make_bundle, verify_bundle
from recsys.signing.keys import PublicKey, SigningKey, find_signing_key, read_public_keys
from recsys.signing.provenance import Provenance, Resource, make_provenance, parse_provenance
from recsys.signing.statement import SignedFiles, make_statement, parse_statement

__all__ = [
    "Provenance",
    "PublicKey",
    "Resource",
    "SignedFiles",
    "SigningKey",
    "Verified",
    "find_signing_key",
    "make_bundle",
    "make_provenance",
    "make_statement",
    "parse_provenance",
    "parse_statement",
    "read_public_keys",
    "verify_bundle",
]
