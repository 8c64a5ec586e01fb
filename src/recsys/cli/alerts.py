"""The command `alerts`: shows and tests the alert channels."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys import alerts
from recsys.cli import output
from recsys.cli.output import JsonOption, console


def show_alerts(
    test: Annotated[
        bool, typer.Option("--test", help="Send a test alert on every channel now.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show which channels receive alerts, or send a test to each of them.

    Channels are set by RECSYS_ALERT_SLACK_URL, RECSYS_ALERT_WEBHOOK_URL, RECSYS_ALERT_SMTP_URL
    with RECSYS_ALERT_EMAIL_TO, and RECSYS_ALERT_HEARTBEAT_URL; RECSYS_ALERT_KINDS lists the
    kinds of alert to send.

    Exit code 1: a channel did not accept the test.
    """
    settings = alerts.AlertSettings()
    tried = (
        alerts.send_test(settings)
        if test
        else [(c.name, "") for c in alerts.configured_channels(settings)]
    )
    failed = [name for name, error in tried if error]
    if as_json:
        output.print_json(
            {
                "channels": [{"name": name, "error": error or None} for name, error in tried],
                "kinds": sorted(settings.kinds),
                "heartbeat": settings.heartbeat_url is not None,
                "tested": test,
            }
        )
    elif not tried:
        console.print(
            "No alerts are sent: no channel is set. `recsys alerts --help` lists the variables."
        )
    else:
        for name, error in tried:
            verdict = (
                f"[red]{output.safe(error)}[/]"
                if error
                else ("accepted the test" if test else "set")
            )
            console.print(f"{name:<10} {verdict}")
        console.print(f"sent: {', '.join(sorted(settings.kinds))}")
        console.print(f"heartbeat: {'set' if settings.heartbeat_url else 'not set'}")
    if failed:
        raise typer.Exit(output.EXIT_FAILED)
