"""Follows docs/quick-start.md as a new user does: on a fresh clone, with an empty HOME.

``python -m tests.follow_quick_start`` clones the last commit into a temporary folder and runs the
shell commands of the page's marked blocks there, in order. It ends with the code of the first
command that fails. ``RECSYS_SOURCE`` names another dataset than the page's,
``RECSYS_BUILD_SETTINGS`` a shorter training, and ``UV_CACHE_DIR`` a folder with packages that need
not be downloaded again.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
_BLOCK: Final = re.compile(r"^<!-- (?:followed|tested): [^>]*-->\n```sh\n(.*?)^```", re.S | re.M)
# How packages are reached and whom to trust there; nothing else of the caller's environment.
_INHERITED: Final = re.compile(
    r"(?i)path|lang|pip_.*|uv_.*|.*_proxy|ssl_cert_.*|.*_ca_(bundle|certs)|recsys_source"
    r"|recsys_build_settings"
)


def commands(page: str) -> list[str]:
    """Returns the lines of the page's marked blocks."""
    return [line for block in _BLOCK.findall(page) for line in block.splitlines() if line]


def environment(home: Path) -> dict[str, str]:
    """Returns the environment of a new account."""
    inherited = {name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name)}
    own = Path(sys.executable).parent
    path = [p for p in os.environ["PATH"].split(os.pathsep) if Path(p) != own]
    return inherited | {"PATH": os.pathsep.join(path), "HOME": str(home)}


def main() -> int:
    """Follows the page; returns the exit code."""
    # Not below a folder that only its owner may enter: as root, PostgreSQL runs as another account.
    with tempfile.TemporaryDirectory(prefix="recsys-quick-start-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "home").mkdir()
        clone = folder / "recsys"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        followed = environment(folder / "home")
        page = (clone / "docs" / "quick-start.md").read_text(encoding="utf-8")
        began = time.monotonic()
        # One shell, so that later commands see what earlier ones export.
        code = subprocess.run(
            ["sh", "-exc", "\n".join(commands(page))],
            cwd=clone,
            env=followed,
            stdin=subprocess.DEVNULL,
            check=False,
        ).returncode
        took = time.monotonic() - began
        subprocess.run(
            ["sh", "-c", "test ! -x .venv/bin/recsys || .venv/bin/recsys down"],
            cwd=clone,
            env=followed,
            check=False,
        )
    print(f"the quick start {'worked' if code == 0 else 'failed'} after {took:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
