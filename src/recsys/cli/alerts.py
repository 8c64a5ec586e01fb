"""The command `alerts`: shows and tests the alert channels."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from recsys import alerts
from recsys.cli import output
from recsys.cli.output import JsonOption, console
from recsys.cli.source import chosen_description

if TYPE_CHECKING:
    from recsys.alerts import AlertSettings

_OF_AIRFLOW: Final = "recsys_dag."
_IN_AIRFLOW: Final = "recsys_dag.settings:alerts_of_command_line"
_NOT_TRIED: Final = "not tried: its address is a Connection; repeat in a container of Airflow"


def show_alerts(
    test: Annotated[
        bool, typer.Option("--test", help="Send a test alert on every channel now.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show which channels receive alerts, or send a test to each of them.

    A recommender's description names its channels. Else they are those of all, set by
    RECSYS_ALERT_SLACK_URL, RECSYS_ALERT_WEBHOOK_URL, RECSYS_ALERT_SMTP_URL with
    RECSYS_ALERT_EMAIL_TO; RECSYS_ALERT_KINDS lists the kinds of alert to send, and
    RECSYS_ALERT_HEARTBEAT_URL is for pings. Addresses in Connections are known only to a command
    that runs in a container of Airflow.

    Exit code 1: a channel did not accept the test.
    """
    route = _route()
    tried = (
        alerts.send_test(route.settings)
        if test
        else [(c.name, "") for c in alerts.configured_channels(route.settings)]
    )
    tried += [(name, _NOT_TRIED if test else "") for name in route.unknown]
    if as_json:
        output.print_json(
            {
                "channels": [
                    {"name": name, "connection": route.named.get(name), "error": error or None}
                    for name, error in tried
                ],
                "kinds": sorted(route.settings.kinds),
                "heartbeat": route.settings.heartbeat_url is not None,
                "tested": test,
            }
        )
    elif not tried:
        console.print(
            "No alerts are sent: no channel is set. `recsys alerts --help` lists the variables."
        )
    else:
        _print(tried, route, test)
    if any(error for _, error in tried):
        raise typer.Exit(output.EXIT_FAILED)


@dataclass(frozen=True)
class _Route:
    """Where the alerts of the chosen recommender go.

    Attributes:
        settings: channels and kinds.
        named: the Connections that the description names, by channel.
        unknown: those channels whose addresses only Airflow knows.
        heartbeat: the Connection of the heartbeat, if only Airflow knows whether it exists.
    """

    settings: AlertSettings
    named: dict[str, str]
    unknown: tuple[str, ...] = ()
    heartbeat: str = ""


def _route() -> _Route:
    described = chosen_description()
    named = described.alerts.channels if described is not None else {}
    if os.environ.get("RECSYS_SERVICES", "").startswith(_OF_AIRFLOW):
        return _Route(pkgutil.resolve_name(_IN_AIRFLOW)(), named)
    settings = alerts.AlertSettings()
    if described is None:
        return _Route(settings, named)
    settings = settings.model_copy(update=described.alert_fields)
    heartbeat = "" if settings.heartbeat_url else described.heartbeat_connection
    return _Route(settings, named, tuple(named), heartbeat)


def _print(tried: Sequence[tuple[str, str]], route: _Route, test: bool) -> None:
    for name, error in tried:
        of = f", Connection {route.named[name]}" if name in route.named else ""
        found = f"[red]{output.safe(error)}[/]" if error else "accepted the test" if test else "set"
        console.print(f"{name:<10} {found}{output.safe(of)}", soft_wrap=True)
    if any(name == "email" for name, _ in tried) and route.settings.email_to:
        console.print(f"e-mail to: {output.safe(', '.join(route.settings.email_to))}")
    console.print(f"sent: {', '.join(sorted(route.settings.kinds))}")
    state = "set" if route.settings.heartbeat_url else "not set"
    if route.heartbeat:
        state += f", unless Airflow has the Connection {route.heartbeat}"
    console.print(f"heartbeat: {output.safe(state)}", soft_wrap=True)
