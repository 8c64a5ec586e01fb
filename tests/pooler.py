"""PgBouncer in front of a database."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

_PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")


@contextmanager
def pooler(
    dsn: str, mode: str, pool_size: int = 5, ignored: str = "extra_float_digits"
) -> Iterator[str]:
    """Runs PgBouncer; provides the address of the same database and account through it.

    Args:
        dsn: the database and the account, with its password.
        mode: its ``pool_mode``.
        pool_size: sessions of the server that the clients share.
        ignored: its ``ignore_startup_parameters``; by default PgBouncer refuses all.
    """
    if _PGBOUNCER is None:
        pytest.skip("no pgbouncer here: apt-get install pgbouncer")
    address = conninfo_to_dict(dsn)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Not tmp_path, which the account of PgBouncer can't reach.
    with tempfile.TemporaryDirectory(prefix="recsys-tests-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        ini, users = folder / "pgbouncer.ini", folder / "users.txt"
        users.write_text(f'"{address["user"]}" "{address["password"]}"\n')
        ini.write_text(
            "[databases]\n"
            f"{address['dbname']} = host={address['host']} port={address['port']} "
            f"password={address['password']}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = plain\nauth_file = {users}\npool_mode = {mode}\n"
            f"default_pool_size = {pool_size}\nignore_startup_parameters = {ignored}\n"
        )
        process = subprocess.Popen(
            [_PGBOUNCER, "-q", str(ini)], stderr=subprocess.PIPE, **_account()
        )
        try:
            yield _reached(process, make_conninfo(dsn, host="127.0.0.1", port=port))
        finally:
            process.terminate()
            process.communicate()


def _account() -> dict[str, Any]:
    """PgBouncer refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid}


def _reached(process: subprocess.Popen[bytes], through: str) -> str:
    while True:
        if process.poll() is not None:
            assert process.stderr is not None
            pytest.fail(f"pgbouncer ended: {process.stderr.read().decode()}")
        try:
            psycopg.connect(through).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return through
