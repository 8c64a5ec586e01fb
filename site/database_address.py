"""The address of a PostgreSQL server as people write it, made into one that libpq understands.

Errors of libpq quote the address, and with it the password. The errors of this module quote none
of it. The site has a copy of this file, because it imports nothing of the pipeline.
"""

from __future__ import annotations

import re
from typing import Final

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

_URI: Final = re.compile(r"postgres(?:ql)?(?:\+[a-z0-9_]+)?://", re.IGNORECASE)
"""libpq's own two schemes, and those of SQLAlchemy, which name a driver."""
_SCHEME: Final = re.compile(r"(?:jdbc:)?[A-Za-z][A-Za-z0-9+.-]*://")
_QUOTES: Final = ("'", '"')
_REASONS: Final = (
    ("percent-encoded", "a % that is not followed by two hex digits: write % as %25"),
    ("unexpected spaces", "a blank in the URI: write it as %20"),
    ("unterminated quoted string", "a value whose quote is not closed"),
    ("invalid URI query parameter", "a parameter after ? that libpq does not have"),
    ("invalid connection option", "a keyword that libpq does not have"),
    ('missing "="', "neither a URI nor pairs of keyword=value"),
)
"""Parts of libpq's messages, and the reason without the text that libpq quotes."""


class InvalidAddressError(ValueError):
    """An address that cannot be used; the message contains no part of it."""


def clean_address(text: str) -> str:
    """Returns an address that libpq parses, with the same meaning.

    Quotes and blanks around it are removed, and the schemes of SQLAlchemy, such as
    ``postgresql+psycopg2://``, are replaced by libpq's.

    Args:
        text: a URI, or a string of keyword=value pairs.

    Raises:
        InvalidAddressError: libpq cannot parse the address, or a password in it would be taken for
            a part of the host.
    """
    address = _without_quotes(text)
    if not address:
        raise InvalidAddressError("an empty address")
    try:
        address.encode()
    except UnicodeEncodeError:
        raise InvalidAddressError("bytes that are not UTF-8") from None
    if match := _URI.match(address):
        address = "postgresql://" + address[match.end() :]
        _check_uri(address.removeprefix("postgresql://"))
    elif _SCHEME.match(address):
        raise InvalidAddressError("a URI whose scheme is not postgresql")
    if "\0" in address:
        raise InvalidAddressError("a zero byte")
    try:
        parameters = conninfo_to_dict(address)
    except ProgrammingError as error:
        reason = next((reason for part, reason in _REASONS if part in str(error)), None)
        # The chain must not show libpq's error.
        raise InvalidAddressError(reason or "a string that libpq cannot parse") from None
    _check_host(str(parameters.get("host") or ""), str(parameters.get("port") or ""))
    return address


def _without_quotes(text: str) -> str:
    text = text.strip()
    while len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES:
        text = text[1:-1].strip()
    return text


def _check_uri(rest: str) -> None:
    """Refuses a password with reserved characters: libpq would look up its end as a host."""
    if any(not character.isprintable() for character in rest):
        raise InvalidAddressError("a line break or another control character in the URI")
    authority, _, path = rest.partition("/")
    if authority.count("@") > 1 or "@" in path.partition("?")[0]:
        raise InvalidAddressError(
            "a second @, or a / before it: in a user name or password write @ as %40, / as %2F"
        )


def _check_host(host: str, port: str) -> None:
    for number in port.split(","):
        if number and not (number.isascii() and number.isdecimal() and 0 < int(number) < 65536):
            raise InvalidAddressError(
                "a port that is no number from 1 to 65535; without user name and password before "
                "an @, libpq takes what follows the first : for the port"
            )
    # An @ in the first place is a socket of Linux that has no file.
    if any("@" in name[1:] for name in host.split(",")):
        raise InvalidAddressError("a host with an @: a URI is user:password@host")
