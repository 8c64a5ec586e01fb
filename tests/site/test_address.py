"""The address of the database in the site's settings: no error and no log shows its password."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr, ValidationError

from recsys_site.settings import SiteSettings
from release_reader import ReleaseReader
from tests.addresses import REFUSED, UNDERSTOOD, shows_password

SITE = Path(__file__).resolve().parents[2] / "site"


def settings(address: str) -> SiteSettings:
    return SiteSettings(dsn=SecretStr(address), s3_bucket="bucket")


@pytest.mark.parametrize("form", UNDERSTOOD)
def test_an_address_is_understood(form):
    cleaned = psycopg.conninfo.conninfo_to_dict(settings(UNDERSTOOD[form]).dsn.get_secret_value())
    assert (cleaned["user"], cleaned["host"], cleaned["port"]) == ("u", "h", "5433")
    assert shows_password(str(cleaned["password"]))


@pytest.mark.parametrize("form", REFUSED)
def test_an_address_that_cannot_be_used_is_refused_without_its_password(form):
    with pytest.raises(ValidationError) as refused:
        settings(REFUSED[form])
    assert not shows_password(str(refused.value))


def test_the_site_does_not_start_with_an_invalid_address():
    environment = {
        "PYTHONPATH": str(SITE),
        "RECSYS_SITE_DSN": REFUSED["a bad escape"],
        "RECSYS_SITE_S3_BUCKET": "bucket",
    }
    done = subprocess.run(
        [sys.executable, "-m", "recsys_site"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "RECSYS_SITE_*" in done.stderr
    assert "write % as %25" in done.stderr
    assert not shows_password(done.stdout + done.stderr)


@pytest.mark.parametrize("form", ["a bad escape", "a command"])
def test_a_reader_of_others_logs_no_password(form, tmp_path, caplog):
    reader = ReleaseReader(
        lambda: psycopg.connect(REFUSED[form]), None, "bucket", tmp_path, lambda path, release: path
    )
    stop = threading.Event()
    thread = threading.Thread(target=reader.watch, args=(stop, 0.01))
    thread.start()
    while not caplog.records:
        stop.wait(0.01)
    stop.set()
    thread.join()
    assert "address of the database is invalid" in caplog.text
    assert not shows_password(caplog.text)
