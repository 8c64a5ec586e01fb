"""Commands that show releases: what is live, what there is, and why it is so."""

from __future__ import annotations

import re
from datetime import UTC
from typing import Annotated, Any, Final

import typer

from recsys import ledger, monitoring
from recsys.cli import output
from recsys.cli.output import JsonOption, console

ReleaseOrChampionArgument = Annotated[
    str | None, typer.Argument(help="A release id; by default the champion.")
]

_SIGNS: Final = {"at most": "<=", "below": "<", "at least": ">=", "above": ">"}
_BOUND: Final = re.compile(r"expected (at most|below|at least|above) -?[\d.]+")


def show_status(as_json: JsonOption = False) -> None:
    """Show the champion, the previous champion, and the state of journal and public copies.

    Works without Airflow. The exit code is 0 even if nothing was promoted yet.
    """
    with output.services() as services:
        found = monitoring.read_status(services, with_data=as_json)
    if as_json:
        output.print_json(found)
        return
    champion = found["champion"]
    if champion is None:
        console.print("Nothing was promoted yet. `recsys run` runs the pipeline.")
        return
    facts = output.table("", "")
    facts.add_row("champion", f"[bold green]{champion['release_id']}[/]")
    facts.add_row("promoted", f"{champion['promoted_at'].astimezone(UTC):%Y-%m-%d %H:%M:%S %Z}")
    facts.add_row("dataset md5", champion["dataset_md5"])
    facts.add_row("RMSE", _number(champion["metrics"].get("rmse")))
    facts.add_row("NDCG@10", _number(champion["metrics"].get("ndcg@10")))
    previous = found["previous_champion"]
    facts.add_row("before it", previous["release_id"] if previous else "nothing")
    journal = found["open_journal"]
    facts.add_row(
        "journal",
        f"[yellow]open: {journal['kind']} of {journal['to_release']}[/]" if journal else "closed",
    )
    in_order = found["public_copies_in_order"]
    facts.add_row("public copies", "in order" if in_order else "[yellow]recsys recover[/]")
    console.print(facts)


def list_releases(as_json: JsonOption = False) -> None:
    """List all releases, newest first, with their states and metrics.

    Metrics are those that the pipeline measured. A star marks those that only the trainer stated.
    """
    with output.services() as services, services.connect() as conn:
        known = ledger.all_releases(conn) if ledger.applied(conn) else []
    if as_json:
        output.print_json([monitoring.release_facts(r) for r in known])
        return
    # Errors of ratings are in points of the scale, so those of two scales differ.
    scales = {release.scale for release in known}
    scaled = [" of"] if any(not scale.is_stars for scale in scales) else []
    shown = output.table("release", "state", "created (UTC)", " RMSE", *scaled, " NDCG@10")
    stated = False
    for release in known:
        metrics = release.scores.values()
        mark = "*" if metrics and not release.is_measured else ""
        stated = stated or bool(mark)
        shown.add_row(
            release.release_id,
            f"[bold green]{release.state}[/]" if release.state == "champion" else release.state,
            f"{release.created_at.astimezone(UTC):%Y-%m-%d %H:%M}",
            _number(metrics.get("rmse")) + mark,
            *(f"{release.scale.min:g} to {release.scale.max:g}" for _ in scaled),
            _number(metrics.get("ndcg@10")) + mark,
        )
    console.print(shown if known else "No release yet. `recsys run` runs the pipeline.")
    if stated:
        console.print("* stated by the trainer; the pipeline has not measured it")


def why(release: ReleaseOrChampionArgument = None, as_json: JsonOption = False) -> None:
    """Explain the state of a release: the gate's decision, diff, data, and who did what and why.

    Prints the gate's rules with value and limit, and the newest entries of the history.
    """
    with output.services() as services:
        found = monitoring.why(services, release)
    if as_json:
        output.print_json(found)
        return
    about = found["release"]
    console.print(f"[bold]{about['release_id']}[/] is [bold]{about['state']}[/]\n")
    if found["decision"]:
        print_decision(found["decision"])
    if found["diff"]:
        print_diff(found["diff"])
    print_forward(found["forward"])
    if found["data"]:
        from recsys.cli.data import print_data

        console.print(f"\n[bold]dataset {found['data']['md5']}[/]")
        print_data(found["data"])
    lines = output.table(
        "when (UTC)", "who", "what", "why", title="\n[bold]history[/] (newest first)"
    )
    lines.columns[2].no_wrap = True
    for line in found["history"][:12]:
        change = line["action"].replace("_", " ")
        if line["to_state"]:
            change = f"{line['from_state']} → {line['to_state']}"
        lines.add_row(
            f"{line['at'].astimezone(UTC):%m-%d %H:%M:%S}",
            output.safe(", ".join(filter(None, (line["actor"], line["origin"])))),
            output.safe(change),
            output.safe(line["reason"]),
        )
    console.print(lines)


def print_decision(decision: dict[str, Any]) -> None:
    """Prints the gate's decision and rules."""
    colour = "green" if decision["accepted"] else "red"
    console.print(f"gate: [bold {colour}]{output.safe(decision['reason'])}[/]")
    rules = output.table("rule", " value", " limit", "")
    for rule in decision["rules"]:
        mark = "[green]✓[/]" if rule["passed"] else "[red]✗[/]"
        if not rule["passed"] and not rule.get("binding", True):
            mark = "[yellow]![/]"
        value, threshold = rule["value"], rule["threshold"]
        # Counts, of which most must be 0, are no measurements with four decimals.
        digits = (
            0 if all(one is None or float(one).is_integer() for one in (value, threshold)) else 4
        )
        rules.add_row(output.safe(rule["name"]), _number(value, digits), _limit(rule, digits), mark)
    console.print(rules)
    memory = decision.get("memory")
    if memory:
        console.print(
            f"memory: compared with {memory['compared']} earlier releases; "
            f"{output.safe(memory['because'])}"
        )


def _limit(rule: dict[str, Any], digits: int) -> str:
    """Returns the limit of a rule with the side on which a value must be."""
    value, threshold = rule["value"], rule["threshold"]
    if threshold is None:
        return "-"
    found = _BOUND.search(rule["reason"])
    if found:
        sign = _SIGNS[found[1]]
    else:
        # The reason of a count says what was counted, so the result says the side.
        sign = "<=" if value is None or (value <= threshold) == rule["passed"] else ">="
    return f"{sign} {_number(threshold, digits)}"


def print_forward(forward: dict[str, Any]) -> None:
    """Prints what the gate promised and what newer ratings showed, and a proposed rollback."""
    rows = output.table(
        "newer dataset", "metric", " realized", " interval", " promised", " interval", ""
    )
    for test in forward["tests"]:
        if test["problem"]:
            rows.add_row(test["dataset_md5"][:8], output.safe(test["problem"]))
        for name, found in test["metrics"].items():
            promised = found["promised_interval"]
            kept = promised and promised[0] <= found["value"] <= promised[1]
            rows.add_row(
                test["dataset_md5"][:8],
                name,
                _number(found["value"]),
                _ends(found["interval"]),
                _number(found["promised"]),
                _ends(promised),
                "" if not promised else "[green]kept[/]" if kept else "[yellow]not kept[/]",
            )
    if forward["tests"]:
        console.print("\n[bold]on ratings newer than its dataset[/]")
        console.print(rows)
        for decay in forward["tests"][0]["decays"]:
            console.print(f"[red]decayed[/] {output.safe(decay)}")
    proposed = forward["proposed_rollback"]
    if proposed:
        console.print(
            f"[bold yellow]proposed[/]: recsys rollback --to {proposed['release_id']} "
            f'--reason "better on newer ratings"\n  {output.safe(proposed["reason"])}'
        )


def _ends(ends: list[float] | None) -> str:
    return "-" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


def print_diff(diff: dict[str, Any]) -> None:
    """Prints how the release differs from the champion."""
    console.print(f"\n[bold]compared with {diff['champion']}[/]")
    shown = output.table("", " before", " after", " removed", " added")
    for name in ("movies", "users"):
        change = diff[name]
        counts = (change[key] for key in ("before", "after", "vanished", "appeared"))
        shown.add_row(name, *(f"{count:,}" for count in counts))
    console.print(shown)
    for label, key, asked in (
        ("unchanged neighbors", "neighbour_overlap", f"{diff['sentinel_movies']} movies"),
        ("unchanged recommendations", "recommendation_overlap", f"{diff['sentinel_users']} users"),
    ):
        share = diff[key]
        console.print(f"{label}: {'-' if share is None else f'{share:.0%}'} of 10, for {asked}")


_LARGE: Final = 1e6


def _number(value: float | None, digits: int = 4) -> str:
    if value is None:
        return "-"
    # A trainer may claim any number: 1e308 with four decimals would fill the terminal.
    return f"{value:.{digits}f}" if abs(value) < _LARGE else f"{value:.3g}"
