"""Deletes old rows of Airflow's metadata and old logs: ``python maintain.py --keep-days 90``.

The service airflow-maintenance of docker-compose.yaml runs it once a day, in Airflow's image. On
Kubernetes the chart's CronJob airflow-database-cleanup does it, and a lifecycle rule of the bucket
(docs/deployment.md). Rows are deleted by Airflow's own ``airflow db clean``, which keeps the last
run of each DAG.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

_RETRY_HOURS = 1.0


def clean_database(before: datetime) -> bool:
    """Deletes rows older than a time; returns False if Airflow could not do it."""
    command = [sys.executable, "-m", "airflow", "db", "clean", "--yes", "--skip-archive"]
    done = subprocess.run(  # noqa: S603  # Airflow's own command and a time
        [*command, "--clean-before-timestamp", before.isoformat()], check=False
    )
    return done.returncode == 0


def delete_logs(folder: Path, before: datetime) -> int:
    """Deletes files older than a time, and old empty folders; returns the number of files."""
    deleted = 0
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in files:
            deleted += _delete(Path(parent, name), before)
        for name in folders:
            _delete_empty(Path(parent, name), before)
    return deleted


def _delete(file: Path, before: datetime) -> int:
    # Another process may have deleted it.
    try:
        if file.lstat().st_mtime >= before.timestamp():
            return 0
        file.unlink()
    except FileNotFoundError:
        return 0
    return 1


def _delete_empty(folder: Path, before: datetime) -> None:
    try:
        if folder.is_symlink():
            # The DAG processor's `latest`.
            if not folder.exists():
                folder.unlink()
        # A task may be about to write to a new folder. Deleting its files has renewed the time of
        # an old one, which therefore goes later.
        elif folder.lstat().st_mtime < before.timestamp():
            folder.rmdir()
    except OSError:
        # It has files, or is gone.
        return


def maintain(logs: Path, keep_days: float) -> bool:
    """Cleans once; returns False if the database could not be cleaned."""
    before = datetime.now(UTC) - timedelta(days=keep_days)
    print(f"deleting what is older than {before:%Y-%m-%d %H:%M} UTC", flush=True)
    cleaned = clean_database(before)
    print(f"deleted {delete_logs(logs, before)} logs of {logs}", flush=True)
    if not cleaned:
        print("airflow db clean failed; its output is above", file=sys.stderr, flush=True)
    return cleaned


def main(arguments: list[str]) -> int:
    """Cleans once, or again and again with ``--every-hours``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--keep-days", type=float, default=90, help="days to keep (90)")
    parser.add_argument("--every-hours", type=float, help="repeat; without it, clean once")
    home = Path(os.environ.get("AIRFLOW_HOME", "/opt/airflow"))
    parser.add_argument("--logs", type=Path, default=home / "logs", help="Airflow's logs folder")
    options = parser.parse_args(arguments)
    if options.keep_days < 1:
        parser.error(f"--keep-days: found {options.keep_days:g}, expected at least 1")
    while True:
        cleaned = maintain(options.logs, options.keep_days)
        if options.every_hours is None:
            return 0 if cleaned else 1
        time.sleep(3600 * (options.every_hours if cleaned else _RETRY_HOURS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
