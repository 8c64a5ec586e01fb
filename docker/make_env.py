"""Writes `.env` for docker-compose.yaml with random secrets: ``python docker/make_env.py [FILE]``.

Needs only Python. Does not replace an existing file: the volumes were created with its passwords.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from pathlib import Path

_EXISTS = 1
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


def write(path: Path) -> None:
    """Writes the file atomically, with mode 600.

    Raises:
        FileExistsError: the file exists.
    """
    lines = [
        "# Written by `make env` for docker-compose.yaml. Keep it: the volumes use its passwords.",
        *(f"{name}='{value}'" for name, value in sorted(environment().items())),
        "",
    ]
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write("\n".join(lines))
        # Unlike a rename, a link fails if the file was created in the meantime.
        os.link(draft, path)
    finally:
        draft.unlink()


def main(arguments: list[str]) -> int:
    """Writes the file given as argument, by default the project's `.env`."""
    path = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[1] / ".env"
    try:
        write(path)
    except FileExistsError:
        print(
            f"{path} already exists and was not changed; "
            "what to do: to replace it, remove it and the volumes (docker compose down --volumes)",
            file=sys.stderr,
        )
        return _EXISTS
    print(f"wrote {path} (mode 600); Airflow's user is admin, its password is in AIRFLOW_PASSWORDS")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
