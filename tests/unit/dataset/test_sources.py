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
def test_a_file_is_resumed_if_it_is_still_long_enough(
    file: FileSource, start: int, mark: str | None, begins: int
) -> None:
    with file.open(start, mark) as part:
        assert (part.start, part.total) == (begins, 10)
        assert b"".join(part.chunks) == b"0123456789"[begins:]


def test_pipes_devices_and_folders_are_rejected_without_blocking(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.zip"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero"), tmp_path / "a\0b", pipe / "x"):
        with pytest.raises(DatasetError, match="does not exist"), FileSource(path).open():
            pass


def test_an_error_of_the_file_system_is_transient(tmp_path: Path) -> None:
    link = tmp_path / "x.zip"
    link.symlink_to(link)
    with pytest.raises(SourceUnreachableError), FileSource(link).open():
        pass


def test_an_error_of_the_caller_is_not_translated(file: FileSource) -> None:
    error = PermissionError("raised by the caller")
    with pytest.raises(PermissionError) as caught, file.open():
        raise error
    assert caught.value is error


def test_mirrors_given_to_a_command_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Of mirrors, a command looks for the md5 before it starts any server.
    (tmp_path / "my films.zip.md5").write_text("d" * 32)
    home = Home(tmp_path / "home")
    given = "my films.zip https://a/ml.zip, /data/ml.zip"
    chosen = f"{tmp_path}/my films.zip https://a/ml.zip /data/ml.zip"
    assert choose_source(home, given) == chosen
    assert choose_source(home, None) == chosen
