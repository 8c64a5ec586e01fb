"""Somebody changed the JSON of a release in the ledger: lists go on, and an error says which."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from recsys import ledger, monitoring
from recsys.errors import ArtifactError, RecsysError
from recsys.releases import promote_release, recover_promotion
from recsys.reports.release import report_page
from recsys.services import Services
from tests.actors import an_actor
from tests.release_maker import Releases

MANIFESTS = [
    *("'{}'", "'[]'", "'\"text\"'", "'5'"),
    *("manifest - 'metrics'", "manifest - 'build'", "manifest - 'artifacts'"),
    *(f"jsonb_set(manifest, '{{metrics}}', '{value}')" for value in ("5", "[]", "null")),
    "jsonb_set(manifest, '{metrics,metrics_schema}', '99')",
    # A manifest that is valid and not the one in S3.
    "jsonb_set(manifest, '{metrics,model}', '[1]')",
]
BUILDS = ["'{}'", "'[]'", "build - 'trainer_digest'"]


@pytest.fixture
def three(services: Services, releases: Releases) -> list[str]:
    """An earlier champion, the champion, and a candidate."""
    made = []
    for number in (1, 2, 3):
        made.append(releases.candidate(number))
        if number < 3:
            promote_release(services, made[-1], actor=an_actor())
    return made


def test_whatever_is_damaged_the_lists_go_on(services: Services, three: list[str]) -> None:
    for release_id in three:
        for column, values in (("manifest", MANIFESTS), ("build", BUILDS)):
            for value in values:
                damage(services, release_id, column, value)
                check(services, three, release_id)
            if column == "manifest" and release_id != three[2]:
                assert any(release_id in problem for problem in monitoring.problems(services))
            damage(services, release_id, column, None)
    check_doctor_says_what_it_cannot_compare(services, three[1])
    assert monitoring.problems(services) == []


WHOLE: dict[tuple[str, str], str] = {}


def damage(services: Services, release_id: str, column: str, value: str | None) -> None:
    with services.connect() as conn:
        [(before,)] = conn.execute(
            f"select {column}::text from recsys.releases where release_id = %s", (release_id,)
        ).fetchall()
        whole = WHOLE.setdefault((release_id, column), before)
        restore = f"update recsys.releases set {column} = %s::jsonb where release_id = %s"
        conn.execute(restore, (whole, release_id))
        if value:
            harm = f"update recsys.releases set {column} = {value} where release_id = %s"
            conn.execute(harm, (release_id,))


def check(services: Services, three: list[str], damaged: str) -> None:
    earlier, champion, _ = three
    overview = monitoring.read_overview(services)
    assert {release.release_id for release in overview.releases} == set(three)
    status = monitoring.read_status(services)
    assert status["champion"]["release_id"] == champion
    assert status["previous_champion"]["release_id"] == earlier
    json.dumps(monitoring.why(services, damaged), default=str)
    assert monitoring.measure_ledger(services)
    said = complaint(lambda: report_page(services, damaged))
    assert not said or damaged in said
    with services.connect() as conn:
        releases = ledger.all_releases(conn)
    # As `recsys releases` shows them.
    json.dumps([monitoring.release_facts(release) for release in releases], default=str)
    [release] = [release for release in releases if release.release_id == damaged]
    said = complaint(lambda: release.metrics)
    assert not said or f"the manifest of release {damaged} in the ledger is damaged" in said


def check_doctor_says_what_it_cannot_compare(services: Services, champion: str) -> None:
    """Copies and view may be damaged, too; only the champion's manifest could show it."""
    not_comparable = f"cannot be compared with the champion {champion}"
    with services.connect() as conn:
        # The second one has another type than the view expects.
        for value in ("'{}'", "jsonb_set(manifest, '{artifacts}', '5')"):
            damage(services, champion, "manifest", value)
            with pytest.raises(ArtifactError, match=f"manifest of release {champion}"):
                ledger.current_release_is_right(conn, ledger.get(conn, champion))
        found = monitoring.problems(services)
        for name in ("the public copies in S3", "recsys.current_release"):
            assert any(problem.startswith(f"{name} {not_comparable}") for problem in found), found

        conn.execute("drop view recsys.current_release")
        conn.execute("create view recsys.current_release as select 1 as release_id")
        assert not ledger.current_release_is_right(conn, ledger.get(conn, champion))
        with pytest.raises(ArtifactError):
            recover_promotion(services, actor=an_actor())
        damage(services, champion, "manifest", None)
        assert ledger.current_release_is_right(conn, ledger.get(conn, champion))


def complaint(read: Callable[[], object]) -> str:
    """Returns what an error that is ours says; empty if there is none."""
    try:
        read()
    except RecsysError as error:
        return str(error)
    return ""
