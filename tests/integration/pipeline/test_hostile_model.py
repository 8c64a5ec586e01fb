"""A trainer that puts something beside the model, and lies about nothing else."""

from __future__ import annotations

import io
import zipfile

import pytest

from recsys.contract import MODEL_FILE, release_key
from recsys.errors import ArtifactError
from recsys.pipeline import Run, check_candidate
from tests.release_maker import Releases


class ReleasesWithZips(Releases):
    """Their models are zips with these members."""

    MEMBERS = ("metadata.json", "config.json", "model.weights.h5")

    def model_bytes(self, number: int) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name in self.MEMBERS:
                # Without the time of day: the same number gives the same bytes.
                archive.writestr(zipfile.ZipInfo(name), str(number))
        return out.getvalue()


class HostileReleases(ReleasesWithZips):
    MEMBERS = (*ReleasesWithZips.MEMBERS, "../../escaped.py")


def test_the_pipeline_refuses_the_candidate_before_any_image_loads_it(services):
    for maker, number in ((ReleasesWithZips(services), 1), (HostileReleases(services), 2)):
        release_id = maker.without_decision(number)
        run = Run(run_id=f"run-{number}", source="s", build=maker.build(number))
        if number == 1:
            assert check_candidate(services, run).release_id == release_id
        else:
            with pytest.raises(ArtifactError, match="not a model's file") as refused:
                check_candidate(services, run)
            assert release_key(release_id, MODEL_FILE) in str(refused.value)
            assert "'../../escaped.py'" in str(refused.value)
