"""A candidate with impossible metrics is rejected; what shows releases still works."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from recsys import monitoring, pipeline
from recsys.cli.app import app
from recsys.gate import GateSettings
from recsys.pipeline import Run
from recsys.reports import release
from tests.impossible_metrics import IMPOSSIBLE, SCRIPT, ImpossibleReleases


def test_it_is_rejected_and_listed_and_has_a_report(services, monkeypatch):
    made = ImpossibleReleases(services)
    ids = []
    for number in range(len(IMPOSSIBLE)):
        made.put_features(number)
        ids.append(made.without_decision(number))
        run = Run(run_id=f"run-{number}", source="s", build=made.build(number))
        decision = pipeline.gate_candidate(services, run, GateSettings())
        assert not decision.accepted, IMPOSSIBLE[number]
        assert all(len(rule.reason) < 1000 for rule in decision.rules)
        json.dumps(decision.model_dump(mode="json"), allow_nan=False)
    # A report takes a second: of a huge number, of texts everywhere, and of texts in slices.
    shown = [ids[number] for number in (2, 10, 14)]
    for release_id in shown:
        page = release.report_page(services, release_id)
        assert SCRIPT not in page
        json.dumps(monitoring.why(services, release_id), default=str)
    json.dumps(monitoring.read_overview(services).model_dump(mode="json"), allow_nan=False)

    s3 = services.s3
    for name, value in {
        "RECSYS_PG_DSN": services.postgres.dsn.get_secret_value(),
        "RECSYS_S3_BUCKET": s3.bucket,
        "RECSYS_S3_ENDPOINT": s3.endpoint,
        "AWS_ACCESS_KEY_ID": s3.access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": s3.secret_key.get_secret_value(),
        "COLUMNS": "200",
    }.items():
        monkeypatch.setenv(name, value)
    listed = CliRunner().invoke(app, ["releases"])
    assert listed.exit_code == 0, listed.output
    assert all(release_id in listed.output for release_id in ids)
    assert max(map(len, listed.output.splitlines())) <= 200
    as_json = CliRunner().invoke(app, ["releases", "--json"])
    assert len(json.loads(as_json.output)) == len(ids)
    for release_id in shown:
        explained = CliRunner().invoke(app, ["why", release_id])
        assert explained.exit_code == 0, explained.output
