"""Answers of servers in other languages: PostgreSQL 15 gave these to the pipeline's driver."""

from __future__ import annotations

import psycopg
import pytest
from pydantic import SecretStr

from recsys.database import PostgresSettings, connect
from recsys.database.failures import connection_refused
from recsys.errors import ConfigurationError, ServiceUnavailableError

BEGINNING = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: '


@pytest.mark.parametrize(
    "answer",
    [
        "FATAL:  Passwort-Authentifizierung für Benutzer »admin« fehlgeschlagen",
        "FATAL:  Datenbank »none« existiert nicht",
        "FATAL:  zu viele Verbindungen von Rolle »site«",
        'ВАЖНО:  пользователь "admin" не прошёл проверку подлинности (по паролю)',
        "ВАЖНО:  извините, уже слишком много клиентов",
        "FATAL:  the database system is starting up",
    ],
)
def test_an_answer_that_is_not_understood_is_shown_and_is_not_called_silence(answer: str):
    error = connection_refused(psycopg.OperationalError(BEGINNING + answer))

    assert type(error) is ServiceUnavailableError
    assert "PostgreSQL answers, but opens no connection" in str(error)
    assert answer in str(error)
    assert "the account, its password or the database" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "Connection refused\n\tIs the server running on that host?",
        "server closed the connection unexpectedly",
        "timeout expired",
    ],
)
def test_a_server_that_does_not_answer_is_told_so(text: str):
    error = connection_refused(psycopg.OperationalError(BEGINNING + text))

    assert type(error) is ServiceUnavailableError
    assert "PostgreSQL does not answer" in str(error)


def test_the_drivers_own_refusals_are_permanent_in_every_language():
    text = "fe_sendauth: no password supplied"

    assert type(connection_refused(psycopg.OperationalError(BEGINNING + text))) is (
        ConfigurationError
    )


@pytest.mark.parametrize(
    "parameters",
    ["sslmode=no", "port=x", "port=99999999", "connect_timeout=x", "gssencmode=no"],
)
def test_a_value_that_libpq_does_not_know_is_permanent(parameters: str):
    dsn = SecretStr(f"host=127.0.0.1 dbname=x password=hush-hush {parameters}")

    with (
        pytest.raises(ConfigurationError, match="is invalid") as raised,
        connect(PostgresSettings(dsn=dsn)),
    ):
        pass

    assert "hush-hush" not in str(raised.value)
