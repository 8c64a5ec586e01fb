"""The rules about the metadata database query what the real exporter emits for a real server."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import requests
import yaml
from psycopg import sql


@pytest.fixture
def exporter(postgres_dsn: str) -> Iterator[str]:
    """URL of the exporter's metrics."""
    program = shutil.which("prometheus-postgres-exporter") or shutil.which("postgres_exporter")
    if program is None:
        pytest.skip("Debian's package prometheus-postgres-exporter is not installed")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    role = f"exporter_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        # The exporter's driver refuses the few rounds of hashing of the server's own login.
        conn.execute("set scram_iterations = 4096")
        conn.execute(
            sql.SQL("create role {} login password {} in role pg_monitor").format(
                sql.Identifier(role), sql.Literal(role)
            )
        )
    address = urlsplit(postgres_dsn)
    login = address._replace(
        netloc=f"{role}:{role}@{address.hostname}:{address.port}", query="sslmode=disable"
    )
    process = subprocess.Popen(
        [program, f"--web.listen-address=127.0.0.1:{port}"],
        env={**os.environ, "DATA_SOURCE_NAME": urlunsplit(login)},
        stderr=subprocess.DEVNULL,
    )
    yield f"http://127.0.0.1:{port}/metrics"
    process.terminate()
    process.wait(30)
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


def scrape(url: str) -> str:
    end = time.monotonic() + 60
    while True:
        try:
            return requests.get(url, timeout=30).text
        except requests.ConnectionError:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_every_series_of_the_rules_is_emitted_with_its_labels(
    exporter: str, postgres_dsn: str, repository: Path
) -> None:
    rules = yaml.safe_load((repository / "docker/monitoring/rules/recsys.yaml").read_text())
    text = " ".join(r["expr"] for group in rules["groups"] for r in group["rules"])
    text += (repository / "docker/monitoring/grafana/dashboards/recsys.json").read_text()
    queried = set(re.findall(r"\b(pg_[a-z_]+)\{([^}]*)\}", text.replace('\\"', '"')))
    assert {name for name, _ in queried} >= {"pg_up", "pg_database_size_bytes"}
    with psycopg.connect(postgres_dsn) as conn:
        # Opens a transaction, which the exporter must see.
        [(database,)] = conn.execute("select current_database()").fetchall()
        scraped = scrape(exporter)
    for name, selector in queried:
        # Prometheus adds the job.
        labels = set(re.findall(r"([a-z_]+)\s*[=!]", selector)) - {"job"}
        found = re.findall(rf"^{name}(?:\{{(.*)\}})? (.*)$", scraped, re.MULTILINE)
        if "datname" in labels:
            found = [series for series in found if f'datname="{database}"' in series[0]]
        assert found, name
        assert all(f'{label}="' in found[0][0] for label in labels), name
        assert max(float(value) for _, value in found) > 0, name
