"""The account that PostgreSQL runs as."""

from __future__ import annotations

import os
import pwd
import subprocess

from recsys.errors import ConfigurationError

# PostgreSQL refuses to run as root; the wheel itself would create an account of this name.
_ACCOUNT = "pgserver"


def server_account() -> tuple[int, int] | None:
    """Returns uid and gid to run the server as; None unless we are root."""
    if os.geteuid() != 0:
        _check_name()
        return None
    try:
        entry = pwd.getpwnam(_ACCOUNT)
    except KeyError:
        try:
            outcome = subprocess.run(  # noqa: S603 - the command line is constant
                ["useradd", "--system", "--shell", "/bin/false", _ACCOUNT],  # noqa: S607 - distributions differ in where it is
                capture_output=True,
                text=True,
                check=False,
            )
            found = outcome.stderr
        except FileNotFoundError:
            found = "no command useradd"
        try:
            # Another process may have created it in the meantime.
            entry = pwd.getpwnam(_ACCOUNT)
        except KeyError:
            raise ConfigurationError(
                "PostgreSQL cannot run as root, and creating an account for it failed",
                found=found,
                expected=f"an account named {_ACCOUNT}",
                hint="create the account, or run as an ordinary user",
            ) from None
    return entry.pw_uid, entry.pw_gid


def _check_name() -> None:
    """PostgreSQL looks up the name of its account."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise ConfigurationError(
            "PostgreSQL cannot run as an account without a name",
            found=f"uid {os.geteuid()}, which is not in /etc/passwd",
            expected="an account with a name",
            hint="run as a uid of /etc/passwd, add this one to it, or set RECSYS_PG_DSN to a "
            "server of your own",
        ) from None
