"""docs/upgrading.md: Airflow's Connections and Variables move to another Airflow by file."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def airflow(airflow_db):
    """Airflow's command line, in this process."""
    from airflow.cli import cli_parser

    def run(*arguments: str) -> None:
        parsed = cli_parser.get_parser().parse_args(arguments)
        parsed.func(parsed)

    return run


def test_connections_and_variables_come_back_as_they_were(airflow, tmp_path: Path):
    dsn = "postgresql://u:p%40ss%2Fword@db.example.org:5432/recsys"
    connections, again = tmp_path / "connections.json", tmp_path / "again.json"
    variables, variables_again = tmp_path / "variables.json", tmp_path / "variables-again.json"
    airflow("connections", "add", "recsys_moved", "--conn-uri", dsn)
    airflow("variables", "set", "recsys_trainer_image", f"trainer@sha256:{'a' * 64}")
    airflow("connections", "export", str(connections))
    airflow("variables", "export", str(variables))
    # As an empty Airflow.
    airflow("connections", "delete", "recsys_moved")
    airflow("variables", "delete", "recsys_trainer_image")
    try:
        airflow("connections", "import", str(connections))
        airflow("variables", "import", str(variables))
        airflow("connections", "export", str(again))
        airflow("variables", "export", str(variables_again))
        assert '"p@ss/word"' in connections.read_text()
        assert again.read_text() == connections.read_text()
        assert variables_again.read_text() == variables.read_text()
    finally:
        airflow("connections", "delete", "recsys_moved")
        airflow("variables", "delete", "recsys_trainer_image")
