"""Addresses of PostgreSQL: what is understood, and that no error shows a password."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from recsys import database
from recsys.database import PostgresSettings, clean_address
from recsys.errors import ConfigurationError
from tests.addresses import REFUSED, UNDERSTOOD, shows_password


@pytest.mark.parametrize("form", UNDERSTOOD)
def test_an_address_is_understood(form: str) -> None:
    assert conninfo_to_dict(clean_address(UNDERSTOOD[form])) == {
        "user": "u",
        "password": "s3cretpw",
        "host": "h",
        "port": "5433",
        "dbname": "db",
    }


@pytest.mark.parametrize("password", ["a:b", "a#b", "a[b]", "a%40b%2Fc%25", "ä", "a?b", "a=b&c"])
def test_a_password_with_special_characters_is_understood(password: str) -> None:
    found = conninfo_to_dict(clean_address(f"postgresql+psycopg2://u:{password}@h/db"))
    assert found["password"] == password.replace("%40", "@").replace("%2F", "/").replace("%25", "%")
    assert (found["user"], found["host"], found["dbname"]) == ("u", "h", "db")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:p@a:1,b:2/db?target_session_attrs=read-write",
        "postgresql://[::1]:5433/db",
        "postgresql://%2Fvar%2Frun/db",
        "host=@socket dbname=db",
        "host=/var/run dbname=db",
        "service=here",
    ],
)
def test_an_unusual_address_of_libpq_is_left_as_it_is(address: str) -> None:
    assert clean_address(address) == address


@pytest.mark.parametrize("form", REFUSED)
def test_an_address_that_cannot_be_used_is_refused_without_its_password(
    form: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = PostgresSettings(dsn=SecretStr(REFUSED[form]))
    with pytest.raises(ConfigurationError, match="the address of PostgreSQL") as refused:
        with database.connect(settings):
            pytest.fail("it connected")
    # As a log shows it, with the errors that led to it.
    logging.getLogger("test").error("failed", exc_info=refused.value)
    shown = "".join(traceback.format_exception(refused.value))
    assert not shows_password(shown + caplog.text + repr(settings))


def test_the_site_has_the_same_module(repository: Path) -> None:
    original = repository / "src" / "recsys" / "database" / "address.py"
    assert (repository / "site" / "database_address.py").read_bytes() == original.read_bytes()
