"""Releases of dumps of one history, made without training, for tests of the forward test."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars as pl

from recsys import ledger, pipeline
from recsys.contract import PUBLIC_TABLES, TOWER_DIM, Build, BuildSettings, RatingScale
from recsys.dataset import write_sample
from recsys.experiments import Dump, History
from recsys.pipeline import Run
from recsys.releases import promote_release
from recsys.services import Services
from tests.actors import an_actor
from tests.release_maker import Releases


def three_dumps(folder: Path) -> list[Dump]:
    """Writes three dumps of one history; number 1 is the oldest."""
    write_sample(folder / "all.zip", ratings=6000)
    history = History.read(folder / "all.zip")
    times = history.ratings["timestamp"]
    return history.write(folder, [times[3000], times[4500], times[-1]])


class DumpReleases(Releases):
    """Releases of dumps, whose towers are files that can be read."""

    def __init__(self, services: Services, dumps: list[Dump]) -> None:
        super().__init__(services)
        self.dumps = dumps
        self.seen: dict[int, pl.DataFrame] = {}

    def build(self, number: int) -> Build:
        return Build(
            dataset_md5=self.dumps[number - 1].md5,
            trainer_digest=f"sha256:{'a' * 64}",
            settings=BuildSettings().model_dump(mode="json"),
        )

    def run(self, number: int) -> Run:
        source = str(self.dumps[number - 1].path)
        return Run(run_id=f"run-{number}", source=source, build=self.build(number))

    def features(self, number: int) -> Run:
        """Runs the pipeline up to the features of a dump."""
        run = self.run(number)
        with self.services.connect() as conn:
            ledger.prepare(conn)
            ledger.begin_build(
                conn, run.build, run_id=run.run_id, run_nonce="n" * 8, actor=an_actor()
            )
        pipeline.fetch_dataset(self.services, run)
        pipeline.generate_data_frames(self.services, run)
        key = run.build.features_key("interactions.parquet")
        self.seen[number] = pl.read_parquet(io.BytesIO(self.services.store.get_bytes(key)))
        return run

    def promoted(self, number: int) -> str:
        """Makes the release of a dump the champion."""
        self.features(number)
        release_id = self.candidate(number)
        promote_release(self.services, release_id, actor=an_actor())
        return release_id

    def artifact_bytes(self, name: str, number: int) -> bytes:
        table = next((t for t in PUBLIC_TABLES if t.artifact == name), None)
        if table is None:
            return super().artifact_bytes(name, number)
        rows = self.seen[number].sort("timestamp", descending=True)
        rng = np.random.default_rng(number)
        ids = rows["userId" if table.id_column == "userid" else "movieId"].unique().sort()
        frame = pl.DataFrame(
            {
                "id": ids.cast(pl.Int32),
                "vector": pl.Series(
                    rng.normal(size=(len(ids), TOWER_DIM)).astype(np.float32),
                    dtype=pl.Array(pl.Float32, TOWER_DIM),
                ),
            }
        )
        if table.id_column == "userid":
            seen = rows.group_by("userId").agg(seen=pl.col("movieId").cast(pl.Int32))
            frame = frame.join(seen.cast({"userId": pl.Int32}), left_on="id", right_on="userId")
        file = io.BytesIO()
        frame.sort("id").write_parquet(file)
        return file.getvalue()


def constant(stars: dict[int, float], releases: Releases) -> pipeline.Stars:
    """Predicts a constant for each release, which its model's bytes identify."""

    def predict(model: Path, pairs: Path, predictions: Path, /, *, scale: RatingScale) -> None:
        [value] = [stars[n] for n in stars if model.read_bytes() == releases.model_bytes(n)]
        asked = pl.read_parquet(pairs)
        asked.with_columns(prediction=pl.lit(value)).write_parquet(predictions)

    return pipeline.predicted_here(predict)
