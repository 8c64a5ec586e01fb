"""The site on a streaming standby, which announces no promotions."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from tests.site.conftest import another_site, running_site, wait_for
from tests.standby import primary_and_standby

ASKED = ("/api/movies/7/similar", "/api/users/3/recommendations", "/movies/7", "/users/3", "/")
COLD_START = {"ratings": [{"movie_id": 5, "stars": 5}]}


def test_the_site_on_a_standby_answers_and_changes_over_by_polling(s3_server, caplog):
    caplog.set_level(logging.INFO, "release_reader")
    # Not tmp_path, which the account of PostgreSQL can't reach.
    with (
        tempfile.TemporaryDirectory(prefix="recsys-tests-") as folder,
        primary_and_standby(Path(folder)) as (primary, standby),
        running_site(primary, s3_server) as direct,
    ):
        copy = conninfo_to_dict(standby.dsn("postgres"))
        address = make_conninfo(
            direct.settings.dsn.get_secret_value(), host=copy["host"], port=copy["port"]
        )
        with another_site(direct, dsn=SecretStr(address), poll_seconds=0.2) as there:
            for number in (1, 2):
                release_id = direct.promote(number)
                for site in (direct, there):
                    wait_for(lambda site=site, wanted=release_id: site.answers_with(wanted))
                for path in ASKED:
                    asked = there.get(path)
                    assert (asked.status_code, asked.text) == (200, direct.get(path).text), path
                rated = there.client.post("/api/recommendations", json=COLD_START)
                assert rated.json()["release_id"] == release_id
            assert there.get("/readyz").json()["status"] == "ready"
    polled = [each for each in caplog.messages if "so they are polled" in each]
    assert len(polled) == 1
    assert "recovery" in polled[0]
