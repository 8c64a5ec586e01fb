"""Which numbers in stored files stand for users."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pytest

from recsys.contract import MODEL_FILE
from recsys.releases.user_ids import UndecodableError, user_ids
from tests.planted_users import keras_file

_MAKE_MODEL: Final = """
import sys
import numpy as np
from trainer.rating.folded import FoldedRating, build_model
users = np.array([5, 77, int(sys.argv[2])], np.int32)
movies = np.array([1, 2, 9], np.int32)
ones, zeros = np.ones((3, 2), np.float32), np.zeros(3, np.float32)
build_model(FoldedRating(users, movies, ones, ones, zeros, zeros)).save(sys.argv[1])
"""


def read(tmp_path: Path, name: str, data: bytes | str) -> set[int]:
    path = tmp_path / "object"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return set().union(*user_ids(name, path))


def parquet(**columns: object) -> bytes:
    made = io.BytesIO()
    pl.DataFrame(columns).write_parquet(made)
    return made.getvalue()


def zipped(**members: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("_", "."), text)
    return made.getvalue()


QUARANTINE = parquet(
    file=["ratings.csv", "ratings.csv", "movies.csv"],
    text=["5,1,9.5", '"006;2', "8,Title,Genre"],
    rule=["x"] * 3,
)


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        ("interactions.parquet", parquet(userId=[5, 6], movieId=[1, 2]), {5, 6}),
        ("towers/user_towers.parquet", parquet(id=[5], seen=[[1, 2]]), {5}),
        ("towers/movie_towers.parquet", parquet(id=[5]), set()),
        ("quarantine.parquet", QUARANTINE, {5, 1, 6, 2}),
        ("golden.json", '{"user_ids": [5, 6], "movie_ids": [1]}', {5, 6}),
        ("stats.json", '{"users": 610, "profile": {"user_ids": [1, 9]}}', {1, 9}),
        ("why.json", '[{"text": "of user 5, who rated 8"}]', {5}),
        ("report.html", "<td>user 5</td><td>userId=6</td><p>users: 610", {5, 6, 610}),
        ("trainer.log", "epoch 3 of 6\n7 users\nsample of users 5, 6\n", {5, 6}),
        ("dataset.zip", zipped(ratings_csv='userId,movieId\n5,1\n"6,2\n', README_txt="1"), {5, 6}),
        ("dataset.zip", zipped(tags_csv="movieId,user_id\n1,5\n"), {5}),
        ("dataset.zip", zipped(movies_csv="movieId,title\n5,user 6\n"), set()),
        ("dataset.zip", zipped(ratings_dat="5::1::4::9\n", movies_dat="8::T::G\n"), {5}),
        ("dataset.zip", zipped(u_data="5\t1\t4\t9\n", u_item="8|T|\n"), {5}),
        ("model.keras", keras_file([5, 6, 98_765_431]), {5, 6, 98_765_431}),
    ],
)
def test_users_are_found_where_they_are_named(
    tmp_path: Path, name: str, data: bytes | str, found: set[int]
) -> None:
    assert read(tmp_path, name, data) == found


def test_arrays_of_users_in_a_checkpoint_are_found(tmp_path: Path) -> None:
    made = io.BytesIO()
    np.savez(made, user_ids=np.array([5]), movie_ids=np.array([6]))
    assert read(tmp_path, "checkpoint.npz", made.getvalue()) == {5}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("file.bin", b"5"),
        ("interactions.parquet", b"userId 4711"),
        ("model.keras", b"4711"),
        ("model.keras", zipped(config_json="{}")),
        ("stats.json", b"{4711"),
        ("dataset.zip", zipped(x_bin="1")),
    ],
)
def test_what_cannot_be_decoded_is_named_without_its_content(
    tmp_path: Path, name: str, data: bytes
) -> None:
    with pytest.raises(UndecodableError) as caught:
        read(tmp_path, name, data)
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize("largest", [4711, 2**24 + 1])
def test_a_model_of_the_trainer_is_decoded(repository: Path, tmp_path: Path, largest: int) -> None:
    """Both ways in which it looks up users, as Keras stores them."""
    path = tmp_path / MODEL_FILE
    subprocess.run(
        [repository / "trainer/.venv/bin/python", "-c", _MAKE_MODEL, path, str(largest)],
        cwd=repository,
        env={"PYTHONPATH": f"{repository}:{repository}/src", "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=True,
        capture_output=True,
    )
    assert set().union(*user_ids(MODEL_FILE, path)) == {5, 77, largest}
    assert json.loads(zipfile.ZipFile(path).read("metadata.json"))["keras_version"]
