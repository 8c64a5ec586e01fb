"""The command ``recsys``."""

from __future__ import annotations

import logging
import sys

import typer
from rich.logging import RichHandler

from recsys.cli import (
    alerts,
    bench,
    data,
    evaluation,
    examples,
    output,
    queries,
    releases,
    report,
    runs,
    stack,
    tuning,
)
from recsys.errors import RecsysError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Retrain a movie recommender; promote its model and vectors as one pair.\n\n"
    "Start with [bold]recsys demo[/]. Airflow need not be running; PostgreSQL and S3 are started "
    "for a command if necessary. All data is in .recsys/ (or RECSYS_HOME). To use other servers, "
    "set RECSYS_PG_DSN, RECSYS_S3_* and AWS_*.\n\n"
    "Exit codes: 0 success; 1 permanent failure; 2 wrong usage; 75 temporary failure, try again.",
)

_PIPELINE, _RELEASES, _ASK, _STACK = "Pipeline", "Releases", "Ask the live release", "Stack"

app.command(rich_help_panel=_PIPELINE)(runs.demo)
app.command(rich_help_panel=_PIPELINE)(runs.run)
app.command(rich_help_panel=_PIPELINE)(data.validate)
app.command("replay", rich_help_panel=_PIPELINE)(data.replay_rows)
app.command("sample", rich_help_panel=_PIPELINE)(runs.make_sample)
app.command(rich_help_panel=_PIPELINE)(evaluation.train)
app.command(rich_help_panel=_PIPELINE)(evaluation.evaluate)
app.command(rich_help_panel=_PIPELINE)(tuning.tune)
app.command(rich_help_panel=_PIPELINE)(bench.bench)
app.command("status", rich_help_panel=_RELEASES)(releases.show_status)
app.command(rich_help_panel=_RELEASES)(releases.why)
app.command("report", rich_help_panel=_RELEASES)(report.report)
app.command("releases", rich_help_panel=_RELEASES)(releases.list_releases)
app.command(rich_help_panel=_RELEASES)(releases.promote)
app.command(rich_help_panel=_RELEASES)(releases.rollback)
app.command(rich_help_panel=_RELEASES)(releases.recover)
app.command(rich_help_panel=_RELEASES)(releases.adopt)
app.command(rich_help_panel=_RELEASES)(releases.retire)
app.command(rich_help_panel=_ASK)(queries.similar)
app.command(rich_help_panel=_ASK)(queries.recommend)
app.command(rich_help_panel=_STACK)(stack.up)
app.command(rich_help_panel=_STACK)(stack.down)
app.command(rich_help_panel=_STACK)(stack.env)
app.command(rich_help_panel=_STACK)(stack.doctor)
app.command("alerts", rich_help_panel=_STACK)(alerts.show_alerts)
examples.finish_help(app)


def main() -> None:
    """Runs the command line; prints errors of the domain and exits with their code."""
    handler = RichHandler(console=output.errors, show_time=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    try:
        app()
    except RecsysError as error:
        output.print_error(error)
        sys.exit(output.exit_code(error))


if __name__ == "__main__":
    main()
