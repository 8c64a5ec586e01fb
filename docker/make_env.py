"""Writes `.env` for docker-compose.yaml with random secrets: ``python docker/make_env.py [FILE]``.

Needs only Python. In an existing file it adds the secrets that are missing, for instance after an
upgrade, and changes nothing else: the volumes were created with its passwords.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import sys
from pathlib import Path

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(\w+)\s*=\s*(.*?)\s*$")
_HEAD = "# Written by `make env` for docker-compose.yaml. Keep it: the volumes use its passwords.\n"
_WORDS = (
    "AIRFLOW_API_SECRET_KEY",
    "AIRFLOW_DB_PASSWORD",
    "AIRFLOW_JWT_SECRET",
    "GRAFANA_PASSWORD",
    "PIPELINE_DB_PASSWORD",
    "S3_ACCESS_KEY",
    "S3_INTERNAL_KEY",
    "S3_SECRET_KEY",
    "SITE_DB_PASSWORD",
    "SITE_S3_ACCESS_KEY",
    "SITE_S3_SECRET_KEY",
    "TRAINER_S3_ACCESS_KEY",
    "TRAINER_S3_SECRET_KEY",
    "VECTOR_DB_PASSWORD",
)


def environment() -> dict[str, str]:
    """Generates the secrets; none needs quoting in a URL, a shell or JSON."""
    # 64 characters: Airflow signs its tokens with SHA-512, whose key should have 64 bytes.
    values = {name: secrets.token_hex(32) for name in _WORDS}
    # A Fernet key is 32 bytes in URL-safe base64.
    values["AIRFLOW_FERNET_KEY"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    values["AIRFLOW_PASSWORDS"] = json.dumps({"admin": secrets.token_hex(12)})
    return values


def complete(text: str) -> tuple[str, list[str]]:
    """Adds the secrets that a file lacks.

    A secret that is set to nothing counts as missing: Compose refuses it, too.

    Returns:
        the text with the secrets, otherwise unchanged; the names of those that were added.
    """
    lines = text.removesuffix("\n").split("\n")
    given: dict[str, str] = {}
    for line in lines:
        assigned = _ASSIGNMENT.match(line)
        if assigned:
            # The last assignment of a name counts.
            given[assigned[1]] = assigned[2]
    missing = {
        name: value
        for name, value in sorted(environment().items())
        if given.get(name, "") in ("", "''", '""') or given[name].startswith("#")
    }
    if not missing:
        return text, []
    kept = [line for line in lines if (_ASSIGNMENT.match(line) or [""] * 2)[1] not in missing]
    added = [f"{name}='{value}'" for name, value in missing.items()]
    return "\n".join([*kept, *added, ""]), list(missing)


def write(path: Path) -> list[str]:
    """Writes or completes the file atomically, with mode 600.

    Returns:
        the names of the secrets that were added.
    """
    try:
        before = path.read_bytes().decode()
    except FileNotFoundError:
        before = None
    text, added = complete(_HEAD if before is None else before)
    if not added:
        return []
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
        if before is None:
            # Unlike a rename, a link fails if the file was created in the meantime.
            os.link(draft, path)
        else:
            # The file itself, if the path is a link to it.
            draft.replace(path.resolve())
    except FileExistsError:
        return write(path)
    finally:
        draft.unlink(missing_ok=True)
    return added


def main(arguments: list[str]) -> int:
    """Writes the file given as argument, by default the project's `.env`."""
    path = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[1] / ".env"
    existed = path.exists()
    added = write(path)
    if not existed:
        print(
            f"wrote {path} (mode 600); Airflow's user is admin, its password is in "
            "AIRFLOW_PASSWORDS"
        )
    elif added:
        print(
            f"added to {path}: {', '.join(added)}; everything else in it is unchanged. If a volume "
            "was created with another password, put that in its place"
        )
    else:
        print(f"{path} has all secrets and was not changed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
