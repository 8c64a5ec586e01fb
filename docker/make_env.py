"""Writes `.env` for docker-compose.yaml with random secrets: ``python docker/make_env.py [FILE]``.

Needs Python alone. A file that is there stays as it is: the volumes know its passwords.
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
    """New secrets, none of which needs quoting in a URL, a shell or JSON."""
    # 64 characters: SHA-512, which signs Airflow's tokens, wants a key of 64 bytes.
    drawn = {name: secrets.token_hex(32) for name in _WORDS}
    # A Fernet key is 32 bytes in URL-safe base64.
    drawn["AIRFLOW_FERNET_KEY"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    drawn["AIRFLOW_PASSWORDS"] = json.dumps({"admin": secrets.token_hex(12)})
    return drawn


def write(path: Path) -> None:
    """Writes the file, mode 600, whole or not at all.

    Raises:
        FileExistsError: it is there.
    """
    lines = [
        "# Made by `make env` for docker-compose.yaml. Keep it: the volumes know its passwords.",
        *(f"{name}='{value}'" for name, value in sorted(environment().items())),
        "",
    ]
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write("\n".join(lines))
        # A link, unlike a rename, fails where the file has come to be in the meantime.
        os.link(draft, path)
    finally:
        draft.unlink()


def main(arguments: list[str]) -> int:
    """Writes the file that the arguments name, and says what to do next."""
    path = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[1] / ".env"
    try:
        write(path)
    except FileExistsError:
        print(
            f"{path} is there and stays as it is; found: a file, expected: none; "
            "what to do: remove it, and the volumes with it (docker compose down --volumes)",
            file=sys.stderr,
        )
        return _EXISTS
    print(f"wrote {path} (mode 600); Airflow's user is admin, AIRFLOW_PASSWORDS has the password")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
