"""As root: PostgreSQL's account reaches its files, and no folder of the administrator changes."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres
from recsys.embedded.traversal import closed_folders, with_view

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="requires root")


@pytest.fixture
def private() -> Iterator[Path]:
    """A folder like /root, which no other account can pass."""
    with tempfile.TemporaryDirectory(prefix="recsys-private-") as name:
        folder = Path(name)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        yield folder


def modes(folder: Path) -> dict[Path, int]:
    return {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.parents)}


def test_postgresql_starts_below_a_private_folder_and_its_mode_stays(private: Path) -> None:
    before = modes(private)
    (private / "deep").mkdir(mode=0o700)
    server = Postgres(Home(private / "deep" / "home"))
    with server.home.lock():
        server.start()
    try:
        with server.connect() as connection:
            [row] = connection.execute("select count(*) from pg_extension").fetchall()
            assert row[0] >= 1
        assert server.status().running
        assert modes(private) == before
        assert stat.S_IMODE((private / "deep").stat().st_mode) == 0o700
        # A second command finds it by its process.
        with server.home.lock():
            server.start()
    finally:
        with server.home.lock():
            server.stop()
    assert not server.status().running


def test_a_view_contains_what_is_needed_and_nothing_else(private: Path) -> None:
    shop, cellar = private / "shop", private / "a b'c"
    for folder in (shop, cellar):
        folder.mkdir(mode=0o755)
        (folder / "goods").write_text(folder.name)
        (folder / "goods").chmod(0o644)
    (private / "secret").write_text("root's own")
    nobody = pwd.getpwnam("nobody")
    assert closed_folders([shop, cellar]) == [private]
    script = f"cat '{shop}/goods'; cat \"{cellar}/goods\"; id -u; ls -A {private} | wc -l; exit 7"
    command = with_view(["sh", "-c", script], (nobody.pw_uid, nobody.pw_gid), [shop, cellar])
    assert command is not None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # The account may pass the folder, not list it.
    assert done.stdout == f"shopa b'c{nobody.pw_uid}\n0\n"
    assert done.returncode == 7
    assert (private / "secret").read_text() == "root's own", "the view ends with the command"


def test_no_view_is_made_where_all_folders_are_open(tmp_path: Path) -> None:
    sh = shutil.which("sh")
    assert sh is not None
    assert with_view(["true"], (1, 1), [Path(sh).parent]) is None
