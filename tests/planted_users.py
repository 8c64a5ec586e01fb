"""Releases that know users whose ids occur nowhere else, and a search for these ids.

The search shares no code with `recsys.releases.traces`: it turns everything into text, whatever it
means, and looks for the digits.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import polars as pl

from recsys import pipeline
from recsys.contract import (
    EVALUATED_MODEL_FILE,
    EVALUATED_MOVIE_TOWERS_FILE,
    EVALUATED_USER_TOWERS_FILE,
    GOLDEN_FILE,
    HOLDOUT_PREDICTIONS_FILE,
    HOLDOUT_RECOMMENDATIONS_FILE,
    MODEL_FILE,
    MOVIE_TOWERS_FILE,
    REPORT_FILE,
    TRAINER_LOG_FILE,
    USER_TOWERS_FILE,
    BuildSettings,
    release_key,
)
from recsys.dataset import write_sample
from recsys.dataset.zip_writer import write_dataset
from recsys.experiments import Dump, History
from recsys.pipeline import Run
from recsys.releases import promote_release
from recsys.services import Services
from tests.actors import an_actor
from tests.dump_releases import DumpReleases
from tests.release_maker import Vectors, parquet

LOOKED_UP: Final = 98_765_431
"""An id of the size that a model looks up in a vocabulary."""
NUMBERED: Final = 654_329
"""An id of the size that a model looks up in a table of row numbers."""
PLANTED: Final = (LOOKED_UP, NUMBERED)
BYSTANDER: Final = 3
"""A user of the sample who stays."""


def planted_dumps(folder: Path, dumps: int = 3) -> list[Dump]:
    """Writes dumps of one history in which the planted users have ratings and invalid rows."""
    write_sample(folder / "all.zip", ratings=3000)
    history = History.read(folder / "all.zip")
    times = history.ratings["timestamp"].sort()
    movies = history.ratings["movieId"].unique().sort()[:12].to_list()
    lines = []
    for user in PLANTED:
        # Before all others, so that every dump has them.
        lines += [f"{user},{movie},4.5,{times[0] - 100 + i}" for i, movie in enumerate(movies)]
        lines += [f"{user},{movies[0]},9.5,{times[0]}", f"{user},{movies[0]},4.0"]
        lines += [f'"{user},{movies[1]},4.0,{times[0]}', f"{user},4000000,4.0,{times[0]}"]
    made = []
    for number in range(1, dumps + 1):
        end = times[len(times) * number // dumps - 1]
        part = history.ratings.filter(pl.col("timestamp") <= end)
        path = folder / f"planted-{number}.zip"
        data = part.write_csv().encode() + ("\n".join(lines) + "\n").encode()
        made.append(Dump(number, path, write_dataset(path, history.movies, [data]), end, 0))
    return made


class PlantedReleases(DumpReleases):
    """Releases of dumps that know their users in every kind of file that a trainer makes."""

    def __init__(self, services: Services, dumps: list[Dump]) -> None:
        super().__init__(services, dumps)
        self.runs: dict[int, Run] = {}
        self.unknown: list[int] = []
        """Users whom no model knows, for whom golden predictions ask nevertheless."""

    def build(self, number: int) -> Any:
        return self.runs[number].build

    def run(self, number: int, dump: int | None = None) -> Run:
        """Does the task data_is_new, as a run on a dump would."""
        verdict = pipeline.data_is_new(
            self.services,
            source=str(self.dumps[(dump or number) - 1].path),
            trainer_digest=f"sha256:{'a' * 64}",
            settings=BuildSettings(),
            run_id=f"run-{number}",
            force=False,
            actor=an_actor(),
        )
        self.runs[number] = verdict.run
        with self.services.connect() as conn:
            conn.execute(
                "update recsys.releases set run_nonce = %s where release_id = %s",
                ("n" * 8, verdict.run.release_id),
            )
        return verdict.run

    def begin(self, number: int) -> str:
        return self.runs[number].release_id

    def made(self, number: int, dump: int | None = None) -> str:
        """Makes a candidate from a dump, by default the one of its number."""
        run = self.run(number, dump)
        pipeline.fetch_dataset(self.services, run)
        pipeline.generate_data_frames(self.services, run)
        key = run.build.features_key("interactions.parquet")
        self.seen[number] = pl.read_parquet(io.BytesIO(self.services.store.get_bytes(key)))
        release_id = self.candidate(number)
        for name in (REPORT_FILE, TRAINER_LOG_FILE):
            text = "".join(f"<p>user {user}: 10 movies</p>\n" for user in self.users(number))
            self.services.store.put_bytes(release_key(release_id, name), text.encode())
        return release_id

    def promoted(self, number: int, dump: int | None = None) -> str:
        release_id = self.made(number, dump)
        promote_release(self.services, release_id, actor=an_actor())
        return release_id

    def users(self, number: int) -> list[int]:
        """Returns the users whom a release knows."""
        return self.seen[number]["userId"].unique().sort().to_list()

    def vectors(self, number: int) -> dict[str, Vectors]:
        made = super().vectors(number)
        users = self.users(number)
        rng = np.random.default_rng(number)
        vectors = rng.normal(size=(len(users), 64)).astype(np.float32)
        seen = [[1]] * len(users)
        made["user_towers"] = (np.array(users, np.int32), vectors, {"seen": seen})
        return made

    def model_bytes(self, number: int) -> bytes:
        return keras_file(self.users(number))

    def artifact_bytes(self, name: str, number: int) -> bytes:
        users = self.users(number)
        if name in (MODEL_FILE, EVALUATED_MODEL_FILE):
            return self.model_bytes(number)
        if name == GOLDEN_FILE:
            asked = users + self.unknown
            golden = {"user_ids": asked, "movie_ids": [1] * len(asked), "stars": [3.5] * len(asked)}
            return json.dumps({**golden, "keras_version": "3"}).encode()
        if name in (HOLDOUT_PREDICTIONS_FILE, HOLDOUT_RECOMMENDATIONS_FILE):
            return parquet(pl.DataFrame({"userId": users}).with_columns(movieId=pl.lit(1)))
        if name in (EVALUATED_USER_TOWERS_FILE, EVALUATED_MOVIE_TOWERS_FILE):
            name = {
                EVALUATED_USER_TOWERS_FILE: USER_TOWERS_FILE,
                EVALUATED_MOVIE_TOWERS_FILE: MOVIE_TOWERS_FILE,
            }[name]
        data = super().artifact_bytes(name, number)
        # Files without a meaning here have no decoder either.
        return data if name.endswith((".json", ".parquet")) and data[:1] in b"{P" else b"{}"


def keras_file(users: list[int]) -> bytes:
    """Returns a model as Keras stores it, with both ways of looking up users."""
    numbered = [user for user in users if user < 2**24]
    rows = np.zeros((max(numbered) + 2, 1), np.float32)
    rows[numbered, 0] = np.arange(1, len(numbered) + 1)
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        values = file.create_group("layers/embedding/vars")
        values.attrs["name"] = "user_row_number"
        values.create_dataset("0", data=rows)
    lookup = {"class_name": "IntegerLookup", "config": {"name": "user_row", "vocabulary": users}}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps({"config": {"layers": [lookup]}}))
        archive.writestr("model.weights.h5", weights.getvalue())
    return made.getvalue()


def places(services: Services, users: tuple[int, ...] = PLANTED) -> list[str]:
    """Returns every object and table in which the digits of one of the users occur."""
    digits = re.compile(rf"(?<![0-9A-Za-z.])0*(?:{'|'.join(map(str, users))})(?![0-9A-Za-z])")
    found = []
    for key in services.store.keys(""):
        data = services.store.get_bytes(key)
        if any(digits.search(text) for text in _texts(key, data, users)):
            found.append(key)
    with services.connect() as conn:
        tables = conn.execute(
            "select quote_ident(schemaname) || '.' || quote_ident(tablename) from pg_tables "
            "where schemaname not in ('pg_catalog', 'information_schema')"
        ).fetchall()
        for (table,) in tables:
            rows = conn.execute(f"select t::text from {table} t").fetchall()
            if any(digits.search(row) for (row,) in rows):
                found.append(table)
    return found


def _texts(key: str, data: bytes, users: tuple[int, ...]) -> Iterator[str]:
    if key.endswith(".parquet"):
        table = pl.read_parquet(data)
        for name, dtype in table.schema.items():
            column = table[name]
            while dtype.base_type() in (pl.List, pl.Array):
                column = column.explode()
                dtype = column.dtype
            yield from column.cast(pl.String).drop_nulls()
    elif data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield from _texts(name, archive.read(name), users)
    elif key.endswith(".h5"):
        with h5py.File(io.BytesIO(data)) as file:
            texts: list[str] = []

            def visit(name: str, node: Any) -> None:
                if isinstance(node, h5py.Dataset):
                    values = np.asarray(node)
                    places = np.flatnonzero(values.reshape(len(values), -1)[:, 0])
                    texts.extend(str(user) for user in users if user in places or user in values)

            file.visititems(visit)
            yield from texts
    else:
        yield data.decode("utf-8", "replace")
