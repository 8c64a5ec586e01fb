"""Addresses of PostgreSQL as people write them; each password is a variant of one word."""

from __future__ import annotations

PARTS = ("s3cr", "etpw")
"""Neither part of the password may be shown."""
UNDERSTOOD = {
    "the form of SQLAlchemy": "postgresql+psycopg2://u:s3cretpw@h:5433/db",
    "with another driver": "postgresql+asyncpg://u:s3cretpw@h:5433/db",
    "the old scheme": "postgres://u:s3cretpw@h:5433/db",
    "in upper case": "PostgreSQL://u:s3cretpw@h:5433/db",
    "quoted": "'postgresql://u:s3cretpw@h:5433/db'",
    "quoted, with blanks": ' "postgresql+psycopg://u:s3cretpw@h:5433/db"\n',
    "with a line break": "postgresql://u:s3cretpw@h:5433/db\r\n",
    "as pairs": " host=h port=5433 dbname=db user=u password='s3cretpw' ",
    "as parameters": "postgresql:///db?host=h&port=5433&user=u&password=s3cretpw",
}
"""All of them lead to user u of the database db on h, port 5433."""
REFUSED = {
    "a bad escape": "postgresql://u:s3cr%etpw@localhost/db",
    "an @ in the password": "postgresql://u:s3cr@etpw@localhost/db",
    "a slash in the password": "postgresql://u:s3cr/etpw@localhost/db",
    "a question mark and a slash": "postgresql://u:s3cr?/etpw@localhost/db",
    "a blank in the password": "postgresql://u:s3cr etpw@localhost/db",
    "a line break in the password": "postgresql://u:s3cr\netpw@localhost/db",
    "a zero byte": "host=localhost password=s3cr\0etpw",
    "not UTF-8": "postgresql://u:s3cr\udcffetpw@localhost/db",
    "a blank in a pair": "host=localhost password=s3cr etpw user=u",
    "a quote that stays open": "host=localhost password='s3cretpw user=u",
    "no scheme": "u:s3cretpw@localhost/db",
    "no host": "postgresql://u:s3cretpw",
    "an escaped @ before the host": "postgresql://u:s3cretpw%40localhost/db",
    "escaped altogether": "postgresql://u%3As3cretpw%40localhost/db",
    "a URI of JDBC": "jdbc:postgresql://localhost/db?user=u&password=s3cretpw",
    "another database": "mysql+pymysql://u:s3cretpw@localhost/db",
    "a misspelled parameter": "postgresql://u@localhost/db?passwrd=s3cretpw",
    "a misspelled keyword": "host=localhost passwort=s3cretpw",
    "nothing but the password": "s3cretpw",
    "with a link of Markdown": (
        "postgresql+asyncpg://u:[s3cretpw@host.example](mailto:s3cretpw@host.example):5432/db"
    ),
    "a command": "psql 'postgresql://u:s3cretpw@localhost/db'",
}
"""None of them can be used; the reason that is given must not show the password."""


def shows_password(text: str) -> bool:
    return any(part in text for part in PARTS)
