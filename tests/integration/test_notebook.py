"""notebooks/explore.ipynb runs on a release, without a browser."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from recsys import contract
from recsys.contract import CANDIDATE_ARTIFACTS
from recsys.releases import promote_release
from recsys.services import Services
from tests.actors import an_actor
from tests.metrics_maker import GOOD
from tests.release_maker import Releases


@pytest.fixture
def notebook(repository: Path) -> nbformat.NotebookNode:
    return nbformat.read(repository / "notebooks" / "explore.ipynb", as_version=4)


def shown(cell: nbformat.NotebookNode) -> str:
    texts = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in cell.outputs]
    return "\n".join(texts)


class ReleasesToExplore(Releases):
    """With the files of a trainer, and titles."""

    ARTIFACTS = CANDIDATE_ARTIFACTS

    def candidate(self, number: int) -> str:
        release_id = super().candidate(number)
        self.put_features(number)
        build = self.build(number)
        movies = self.services.store.get_bytes(build.features_key(contract.MOVIES_FILE))
        self.services.store.put_bytes(contract.titles_key(build.dataset_md5), movies)
        return release_id


def test_the_notebook_explores_the_live_release(
    notebook: nbformat.NotebookNode,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    release_id = ReleasesToExplore(services).candidate(1)
    promote_release(services, release_id, actor=an_actor())
    s3 = services.s3
    for name, value in {
        "RECSYS_PG_DSN": services.postgres.dsn.get_secret_value(),
        "RECSYS_S3_BUCKET": s3.bucket,
        "RECSYS_S3_ENDPOINT": s3.endpoint,
        "AWS_ACCESS_KEY_ID": s3.access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": s3.secret_key.get_secret_value(),
        # What the kernel writes.
        **dict.fromkeys(("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"), str(tmp_path)),
    }.items():
        monkeypatch.setenv(name, value)
    folder = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, startup_timeout=300, resources=folder).execute()
    cells = {cell.id: shown(cell) for cell in notebook.cells if cell.cell_type == "code"}
    assert f"explored: {release_id}" in cells["release"]
    assert "10 of 10 are in the table above" in cells["towers"]
    assert "movies like Movie 1" in cells["similar"]
    assert f"{GOOD['model']['rmse']}" in cells["metrics"]
    for dimension, parts in GOOD["slices"].items():
        assert all(name in cells["slices"] for name in (dimension, *parts) if parts)
    for chart in ("vectors", "slices-chart"):
        assert "<Figure" in cells[chart]


def test_the_notebook_is_stored_without_output(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None), cell.id
