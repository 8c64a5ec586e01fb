"""In a container of Airflow, the command `recsys` has the servers of Airflow's Connections."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path


def test_the_command_line_reads_the_connections(tmp_path: Path, repository: Path) -> None:
    image = (repository / "docker/airflow/Dockerfile").read_text()
    named = re.findall(r"RECSYS_SERVICES=(\S+)", image)
    store = {"endpoint_url": "http://127.0.0.1:1", "bucket_name": "movies", "region_name": "r"}
    done = subprocess.run(
        [Path(sys.executable).with_name("recsys"), "status"],
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "RECSYS_SERVICES": "".join(named),
            # Nothing listens on port 1.
            "AIRFLOW_CONN_RECSYS_PG_VECTOR_BACKEND": "postgres://ann:s3cret@127.0.0.1:1/movies",
            "AIRFLOW_CONN_RECSYS_S3": json.dumps(
                {"conn_type": "aws", "login": "a", "password": "s3cret", "extra": store}
            ),
        },
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 75, done.stderr
    assert "127.0.0.1" in done.stderr
    assert "s3cret" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    # Standard output is for the result, which may be JSON.
    assert done.stdout == ""
