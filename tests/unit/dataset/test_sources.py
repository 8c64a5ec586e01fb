from __future__ import annotations

import os
from pathlib import Path

import pytest

from recsys.cli.source import choose_source
from recsys.dataset.sources import FileSource
from recsys.embedded.home import Home
from recsys.errors import DatasetError, SourceUnreachableError


@pytest.fixture
def file(tmp_path: Path) -> FileSource:
    path = tmp_path / "ml.zip"
    path.write_bytes(b"0123456789")
    return FileSource(path)


@pytest.mark.parametrize(
    ("start", "mark", "begins"),
    [(0, None, 0), (4, "same file", 4), (4, None, 0), (10, "same file", 0), (99, "same file", 0)],
)
def test_a_file_is_read_from_where_it_was_left_if_that_is_still_in_it(
    file: FileSource, start: int, mark: str | None, begins: int
) -> None:
    with file.open(start, mark) as part:
        assert (part.start, part.total) == (begins, 10)
        assert b"".join(part.chunks) == b"0123456789"[begins:]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.zip"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero"), tmp_path / "a\0b", pipe / "x"):
        with pytest.raises(DatasetError, match="does not exist"), FileSource(path).open():
            pass


def test_a_file_that_cannot_be_read_to_its_end_is_worth_another_try(tmp_path: Path) -> None:
    link = tmp_path / "x.zip"
    link.symlink_to(link)
    with pytest.raises(SourceUnreachableError), FileSource(link).open():
        pass


def test_an_error_of_the_reader_is_not_taken_for_one_of_the_file(file: FileSource) -> None:
    error = PermissionError("of the disk that is written to")
    with pytest.raises(PermissionError) as caught, file.open():
        raise error
    assert caught.value is error


def test_the_command_takes_mirrors_and_remembers_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = Home(tmp_path / "home")
    given = "my films.zip https://a/ml.zip, /data/ml.zip"
    chosen = f"{tmp_path}/my films.zip https://a/ml.zip /data/ml.zip"
    assert choose_source(home, given) == chosen
    assert choose_source(home, None) == chosen
