"""A dataset is cut into dumps by time, and faults are planted in some of them."""

from __future__ import annotations

import zipfile
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from recsys.dataset import write_dataset
from recsys.errors import DatasetError
from recsys.experiments import Fault, History, plan_faults

DAY = 86_400
MOVIES = b"movieId,title,genres\n1,One (2000),Drama\n"


def make(users: int = 40, days: int = 100) -> History:
    """Each user rates one movie a day; the days of the users overlap."""
    rows = [(user, day, "4.0", (user + day) * DAY) for user in range(users) for day in range(days)]
    ratings = pl.DataFrame(rows, ["userId", "movieId", "rating", "timestamp"], orient="row")
    return History(MOVIES, ratings.sort("timestamp", maintain_order=True))


def content(path: Path) -> pl.DataFrame:
    with zipfile.ZipFile(path) as archive:
        return pl.read_csv(archive.read("ratings.csv"), schema_overrides={"rating": pl.String})


def test_a_history_is_read_back_as_written_and_dumps_are_its_past(tmp_path: Path) -> None:
    history = make()
    write_dataset(tmp_path / "all.zip", MOVIES, [history.ratings.write_csv().encode()])
    assert History.read(tmp_path / "all.zip").ratings.equals(history.ratings)

    ends = history.ends(7 * DAY, dumps=5, first_share=0.3)
    dumps = history.write(tmp_path, ends)

    assert len(dumps) == 5
    assert ends == sorted(ends)
    assert ends[-1] == history.ratings["timestamp"].max()
    assert {late - early for early, late in pairwise(ends)} == {7 * DAY}
    for dump in dumps:
        found = content(dump.path)
        assert found.height == dump.ratings
        assert found.equals(history.ratings.filter(pl.col("timestamp") <= dump.until))
        assert dump.md5 in (tmp_path / f"{dump.path.name}.md5").read_text()
    assert history.write(tmp_path, ends) == dumps, "the same bytes"


def test_the_first_dump_has_its_share_and_empty_spans_make_no_dump() -> None:
    history = make(days=30)
    ends = history.ends(DAY, dumps=500, first_share=0.5)
    first = history.ratings.filter(pl.col("timestamp") <= ends[0]).height
    assert first >= 0.5 * history.ratings.height

    times = pl.Series("timestamp", [0, 1, 100 * DAY], dtype=pl.Int64)
    rare = History(MOVIES, history.ratings.head(3).with_columns(times))
    assert rare.ends(DAY, dumps=500, first_share=0.1) == [0, 99 * DAY, 100 * DAY]


@pytest.mark.parametrize("dumps", [8, 12, 24, 60])
def test_each_fault_is_planted_and_the_last_dump_is_sound(dumps: int) -> None:
    planned = plan_faults(dumps)

    assert set(planned.values()) == set(Fault)
    assert not {1, 2, dumps} & set(planned)
    assert max(planned) < dumps
    assert plan_faults(7) == {}


def test_faults_of_the_data_change_what_they_say(tmp_path: Path) -> None:
    history = make()
    ends = history.ends(2 * DAY, dumps=24, first_share=0.2)
    assert len(ends) == 24
    planned = plan_faults(24)
    sound, faulty = history.write(tmp_path, ends), {}
    for dump in history.write(tmp_path, ends, planned):
        faulty[dump.number] = content(dump.path)

    for number, fault in planned.items():
        now = history.ratings.filter(pl.col("timestamp") <= ends[number - 1])
        found = faulty[number]
        if fault is Fault.STALE:
            assert found["timestamp"].max() == ends[max(0, number - 1 - 8)]
        elif fault is Fault.SHUFFLED:
            assert found.height == now.height
            same = found.join(now, on=["userId", "movieId", "timestamp"], how="semi")
            assert same.height < 0.5 * found.height
        elif fault is Fault.DECAY:
            assert 0.4 * now.height < found.height < now.height
        else:
            assert found.equals(now), "its training is spoiled"
    lost = [
        1 - faulty[number].height / sound[number - 1].ratings
        for number, fault in planned.items()
        if fault is Fault.DECAY
    ]
    assert lost == sorted(lost)


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(DatasetError, match="history can be replayed"):
        History.read(tmp_path / "a.zip")
