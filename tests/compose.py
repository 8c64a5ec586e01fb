"""Compose itself, and what it makes of docker-compose.yaml."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

_FOLDERS = ("/usr/libexec", "/usr/local/lib", "/usr/lib")


def compose_command() -> list[str] | None:
    """Returns the command of Compose v2; None if it is not installed."""
    plugins = [Path(folder, "docker/cli-plugins/docker-compose") for folder in _FOLDERS]
    found = next((p for p in plugins if p.exists()), None) or shutil.which("docker-compose")
    return [str(found)] if found else None


def resolved(repository: Path, env_file: Path, *profiles: str) -> dict[str, Any]:
    """Returns docker-compose.yaml as Compose resolves it with an ``.env``."""
    command = compose_command()
    assert command is not None
    options = [word for profile in profiles for word in ("--profile", profile)]
    done = subprocess.run(
        [*command, "--env-file", str(env_file), *options, "config", "--format", "json"],
        cwd=repository,
        # Compose prefers variables of the shell.
        env={"PATH": "/usr/bin:/bin", "HOME": str(env_file.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document
