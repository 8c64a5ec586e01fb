"""Lineage datasets follow OpenLineage's naming rules and contain no secret."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from recsys.contract import Build
from recsys.database import PostgresSettings
from recsys.monitoring import step_lineage
from recsys.object_store import S3Settings
from recsys.pipeline import Run
from recsys.services import Services

BUILD = Build(dataset_md5="a" * 32, trainer_digest=f"sha256:{'b' * 64}", settings={})
ID = BUILD.release_id
SERVICES = Services(
    postgres=PostgresSettings(dsn=SecretStr("postgresql://u:s3cret@db:5433/vectors")),
    s3=S3Settings(bucket="things"),
)


def lineage(step: str, source: str = "/data/x.zip"):
    return step_lineage(SERVICES, Run(run_id="r", source=source, build=BUILD), step)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("/data/x.zip", [("file", "/data/x.zip")]),
        ("file:///data/x.zip", [("file", "/data/x.zip")]),
        ("s3://other/x.zip", [("s3://other", "x.zip")]),
        ("https://u:s3cret@h:8443/d/x.zip?token=s3cret", [("https://h:8443", "d/x.zip")]),
        ("http://a/x.zip http://b/x.zip", [("http://a", "x.zip"), ("http://b", "x.zip")]),
    ],
)
def test_the_name_of_a_source_contains_no_secret(source, expected):
    inputs = lineage("fetch_dataset", source).inputs
    assert [(one.namespace, one.name) for one in inputs] == expected


def test_a_step_that_moves_no_data_has_no_lineage():
    assert lineage("recover_promotion") is None


def test_tables_and_objects_are_named_by_server_and_release():
    promoted = lineage("promote_release")
    own = ID.replace("-", "_")
    assert {(p.namespace, p.name) for p in promoted.inputs} == {
        ("s3://things", f"releases/{ID}/manifest.json"),
        ("s3://things", f"releases/{ID}/model.keras"),
        ("postgres://db:5433", f"vectors.recsys.movie_vectors_{own}"),
        ("postgres://db:5433", f"vectors.recsys.user_towers_{own}"),
        ("postgres://db:5433", f"vectors.recsys.movie_towers_{own}"),
    }
    assert all(p.facts == {"dataset_md5": "a" * 32, "release_id": ID} for p in promoted.outputs)


def test_outputs_of_a_step_are_inputs_of_later_steps():
    """Every output except those of the last step, and the quarantine, is a later step's input."""
    steps = ["fetch_dataset", "generate_data_frames", "load_movie_vectors", "train_dl_model"]
    steps += ["verify_candidate", "load_towers", "gate_candidate", "promote_release"]
    for i, step in enumerate(steps[:-1]):
        written = set(map(repr, lineage(step).outputs))
        read = {repr(one) for later in steps[i + 1 :] for one in lineage(later).inputs}
        quarantine = {one for one in written if "quarantine" in one}
        assert written - quarantine <= read, step
