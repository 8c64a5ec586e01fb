"""Runs a program as another account although folders above its files are closed to that account.

PostgreSQL refuses to run as root. If root's files are below a folder such as ``/root`` (mode 0700),
the server's account cannot reach them. The modes of these folders belong to the administrator, and
are not changed. Instead, the program gets a view of the file system of its own (a mount namespace):
an empty folder covers each closed one, and contains only what the program needs.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from recsys.errors import ConfigurationError


def closed_folders(needed: Sequence[Path]) -> list[Path]:
    """Returns the topmost folders on the way to each path that other accounts cannot pass."""
    found = {
        next((folder for folder in reversed(path.parents) if not _is_open(folder)), None)
        for path in needed
    }
    tops = sorted(folder for folder in found if folder is not None)
    return [
        folder
        for folder in tops
        if not any(folder.is_relative_to(other) for other in tops if other != folder)
    ]


def with_view(
    command: Sequence[str], account: tuple[int, int], needed: Sequence[Path]
) -> list[str] | None:
    """Returns a command that runs another one as an account, with a view that contains its files.

    It replaces itself by the other command, so that process id and signals are the same.

    Args:
        command: the command line.
        account: uid and gid.
        needed: folders that the account may pass itself, but perhaps not the folders above them.

    Returns:
        None if no folder is closed: then the command needs no view.

    Raises:
        ConfigurationError: folders are closed, and this process may not make mounts.
    """
    closed = closed_folders(needed)
    if not closed:
        return None
    _check_mounts(closed)
    uid, gid = account
    run = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--", *command]
    hidden = [path for path in needed if any(path.is_relative_to(folder) for folder in closed)]
    steps = ["set -e", "umask 022"]
    # Each needed folder is opened before it is covered, and mounted by its descriptor.
    steps += [f"exec {number}<{shlex.quote(str(p))}" for number, p in enumerate(hidden, 3)]
    steps += [f"mount -t tmpfs -o mode=0711,size=1m none {shlex.quote(str(f))}" for f in closed]
    for number, path in enumerate(hidden, 3):
        place = shlex.quote(str(path))
        steps += [f"mkdir -p {place}", f"mount -c --bind /proc/self/fd/{number} {place}"]
        steps += [f"exec {number}<&-"]
    steps += ['exec "$@"']
    view = ["unshare", "--mount", "--propagation=private", "--", "sh", "-c", "\n".join(steps), "sh"]
    return [*view, *run]


def _check_mounts(closed: Sequence[Path]) -> None:
    try:
        done = subprocess.run(
            ["unshare", "--mount", "true"],  # noqa: S607 - distributions differ in where it is
            capture_output=True,
            text=True,
            check=False,
        )
        obstacle = done.stderr.strip() if done.returncode else None
    except FileNotFoundError as error:
        obstacle = str(error)
    if obstacle is not None:
        folders = " ".join(str(folder) for folder in closed)
        raise ConfigurationError(
            "the account of PostgreSQL cannot reach its files, and root may not make mounts here",
            found=f"closed to other accounts: {folders}; {obstacle}",
            expected="folders that other accounts may pass (mode o+x)",
            hint="run as an ordinary user, move RECSYS_HOME or the project, or run "
            f"chmod o+x {folders}",
        )


def _is_open(folder: Path) -> bool:
    return bool(os.stat(folder).st_mode & stat.S_IXOTH)
