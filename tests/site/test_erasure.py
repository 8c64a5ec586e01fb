"""A user who is being erased: the site stops showing the user at once, without a new release."""

from __future__ import annotations

import re
import time

from pydantic import SecretStr

from recsys.releases import request_erasure
from tests.actors import an_actor
from tests.pooler import pooler
from tests.site.conftest import Site, another_site, running_site, wait_for


def test_the_site_stops_showing_a_user_at_once(postgres_server, s3_server, record_property):
    # A check of the current release every minute would not find it: nothing but the word does.
    with running_site(postgres_server, s3_server, poll_seconds=600) as site:
        release_id = site.promote(1)
        wait_for(lambda: site.answers_with(release_id))
        assert site.get("/api/users/3/recommendations").status_code == 200
        asked = time.monotonic()
        request_erasure(site.services, [3], actor=an_actor("ada", "asked"))
        assert site.get("/api/users/3/recommendations").status_code == 404
        assert site.get("/api/users/4/recommendations").status_code == 200
        wait_for(lambda: "changeovers_total 2.0" in site.get("/metrics").text)
        record_property(
            "figure", f"erased user gone from the site in {time.monotonic() - asked:.1f} s"
        )
        assert 'href="/users/3"' not in site.get("/").text


def test_behind_a_pooler_the_user_is_no_example_any_more(postgres_server, s3_server):
    """A pooler passes no notification on, and the site keeps the examples of its release."""
    with running_site(postgres_server, s3_server, poll_seconds=600) as site:
        release_id = site.promote(1)
        dsn = site.settings.dsn.get_secret_value()
        with (
            pooler(dsn, "transaction", ignored="") as through,
            another_site(site, dsn=SecretStr(through)) as pooled,
        ):
            wait_for(lambda: pooled.answers_with(release_id))
            before = examples(pooled)
            assert len(before) > 1
            request_erasure(site.services, before[:1], actor=an_actor("ada", "asked"))
            assert examples(pooled) == before[1:]
            assert "changeovers_total 1.0" in pooled.get("/metrics").text


def examples(site: Site) -> list[int]:
    return [int(user) for user in re.findall(r'href="/users/(\d+)"', site.get("/").text)]
