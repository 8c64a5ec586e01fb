"""Commands about releases: show what is live and why, promote, roll back, recover, retire."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from recsys import ledger, monitoring, releases
from recsys.cli import output
from recsys.cli.data import print_data
from recsys.cli.output import JsonOption, ReasonOption, YesOption, console
from recsys.errors import LedgerError
from recsys.releases import RetentionSettings

ReleaseArgument = Annotated[str, typer.Argument(help="A release id; `recsys releases` lists them.")]


def show_status(as_json: JsonOption = False) -> None:
    """Show the champion, the previous champion, and the state of journal and public copies.

    Works without Airflow. The exit code is 0 even if nothing was promoted yet.
    """
    with output.services() as services:
        found = monitoring.read_status(services)
        if as_json:
            found["data"] = monitoring.why(services)["data"] if found["champion"] else None
    if as_json:
        output.print_json(found)
        return
    champion = found["champion"]
    if champion is None:
        console.print("Nothing was promoted yet. `recsys run` runs the pipeline.")
        return
    facts = output.table("", "")
    facts.add_row("champion", f"[bold green]{champion['release_id']}[/]")
    facts.add_row("promoted", f"{champion['promoted_at']:%Y-%m-%d %H:%M:%S %Z}")
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
    """List all releases, newest first, with their states and metrics."""
    with output.services() as services, services.connect() as conn:
        known = ledger.all_releases(conn) if ledger.applied(conn) else []
    if as_json:
        output.print_json([monitoring.release_facts(r) for r in known])
        return
    shown = output.table("release", "state", "created", " RMSE", " NDCG@10")
    for release in known:
        metrics = monitoring.release_facts(release)["metrics"]
        shown.add_row(
            release.release_id,
            f"[bold green]{release.state}[/]" if release.state == "champion" else release.state,
            f"{release.created_at:%Y-%m-%d %H:%M}",
            _number(metrics.get("rmse")),
            _number(metrics.get("ndcg@10")),
        )
    console.print(shown if known else "No release yet. `recsys run` runs the pipeline.")


def why(
    release: Annotated[
        str | None, typer.Argument(help="A release id; by default the champion.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
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
    if found["data"]:
        console.print(f"\n[bold]dataset {found['data']['md5']}[/]")
        print_data(found["data"])
    lines = output.table("when", "who", "what", "why", title="\n[bold]history[/] (newest first)")
    lines.columns[2].no_wrap = True
    for line in found["history"][:12]:
        change = line["action"].replace("_", " ")
        if line["to_state"]:
            change = f"{line['from_state']} → {line['to_state']}"
        lines.add_row(
            f"{line['at']:%m-%d %H:%M:%S}",
            output.safe(", ".join(filter(None, (line["actor"], line["origin"])))),
            output.safe(change),
            output.safe(line["reason"]),
        )
    console.print(lines)


def print_decision(decision: dict[str, Any]) -> None:
    """Prints the gate's decision and rules."""
    colour = "green" if decision["accepted"] else "red"
    console.print(f"gate: [bold {colour}]{decision['reason']}[/]")
    rules = output.table("rule", " value", " limit", "")
    for rule in decision["rules"]:
        mark = "[green]✓[/]" if rule["passed"] else "[red]✗[/]"
        if not rule["passed"] and not rule.get("binding", True):
            mark = "[yellow]![/]"
        rules.add_row(rule["name"], _number(rule["value"]), _number(rule["threshold"]), mark)
    console.print(rules)


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


def promote(
    release: ReleaseArgument,
    reason: Annotated[
        str, typer.Option("--reason", help="Reason; recorded in the ledger's history.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the release and show the diff; change nothing.")
    ] = False,
    override: Annotated[
        bool,
        typer.Option(
            "--override",
            help="Promote although the gate did not accept it; recorded with RECSYS_ACTOR.",
        ),
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make an accepted release the champion: model and vectors as one pair.

    Verifies its artifacts and tables first. Readers are not interrupted. A release that the gate
    rejected needs --override by a named person, which `recsys why` shows.
    """
    if not (dry_run or reason):
        raise typer.BadParameter("required without --dry-run", param_hint="--reason")
    with output.services() as services:
        if dry_run:
            with output.errors.status("checking artifacts and tables"):
                diff = releases.preview_promotion(services, release, override=override)
            if as_json:
                found = diff.model_dump(mode="json") if diff else None
                output.print_json({"release_id": release, "changed": False, "diff": found})
                return
            console.print(f"{release} is complete and could be promoted; nothing was changed.")
            if diff is not None:
                print_diff(diff.model_dump(mode="json"))
            return
        actor = output.actor(reason)
        if override:
            releases.check_person(actor.name)
            question = (
                f"Make {release} the champion although the gate did not accept it, as {actor.name}?"
            )
        else:
            question = f"Make {release} the champion?"
        output.confirm(question, yes)
        with output.errors.status("checking artifacts and tables, then switching"):
            change = releases.promote_release(services, release, actor=actor, override=override)
    if as_json:
        output.print_json(vars(change))
    else:
        _print_change(change)


def rollback(
    reason: ReasonOption,
    to: Annotated[
        str | None,
        typer.Option("--to", help="A retained release; by default the previous champion."),
    ] = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make an earlier release the champion again: model and vectors as one pair.

    Nothing is recomputed. The release that is rolled back is not promoted again automatically.
    """
    began = time.monotonic()
    with output.services() as services:
        with services.connect() as conn:
            ledger.check_current(conn)
            champion = ledger.champion(conn)
            target = ledger.get(conn, to) if to else ledger.rollback_target(conn)
        if champion is None or target is None:
            raise LedgerError(
                "there is no earlier champion to roll back to",
                hint="choose a retained release with `--to`; `recsys releases` lists them",
            )
        output.confirm(f"Roll back from {champion.release_id} to {target.release_id}?", yes)
        with output.errors.status("checking artifacts and tables, then switching"):
            change = releases.roll_back(services, target.release_id, actor=output.actor(reason))
    seconds = time.monotonic() - began
    if as_json:
        output.print_json({**vars(change), "seconds": round(seconds, 3)})
    else:
        _print_change(change)
        console.print(f"took {seconds:.2f} s")


def recover(as_json: JsonOption = False) -> None:
    """Undo an interrupted promotion and restore the public copies; safe at any time.

    Also creates the ledger in a new database, or upgrades an older one.
    """
    with output.services() as services:
        with output.errors.status("comparing the public copies with the champion"):
            found = releases.recover_and_watch(services, actor=output.actor("recovery"))
    if as_json:
        output.print_json(
            {
                "undone": found.undone,
                "copies_mended": found.copies_restored,
                "names_restored": found.names_restored,
                "needed": found.needed,
            }
        )
    elif found.undone:
        console.print(f"Undid the interrupted promotion of {found.undone}.")
    elif found.needed:
        restored = [
            name
            for name, changed in (
                ("copies", found.copies_restored),
                ("names", found.names_restored),
            )
            if changed
        ]
        console.print(f"Restored the public {' and '.join(restored)}: they are the champion's.")
    else:
        console.print("Nothing to recover: the public copies equal the champion.")


def adopt(
    reason: ReasonOption = "adopted", yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Connect this database's ledger with a bucket of another ledger, or of an older installation.

    A bucket belongs to one ledger, so that a mistyped address cannot harm what a site serves. Use
    this after moving to a new database, when the old one is gone. Public objects stay until the
    first promotion replaces them.
    """
    with output.services() as services:
        output.confirm(
            f"Give the bucket {services.store.bucket} to the ledger of this database?", yes
        )
        previous = releases.adopt_bucket(services, actor=output.actor(reason))
        bucket = services.store.bucket
    if as_json:
        output.print_json({"bucket": bucket, "previous_owner": previous})
    else:
        console.print(
            f"The bucket {bucket} belongs to this ledger; before, to {previous or 'none'}."
        )


def retire(
    keep: Annotated[
        int, typer.Option("--keep", min=0, help="Number of newest complete releases to keep.")
    ] = RetentionSettings().keep_releases,
    reason: ReasonOption = "retention",
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Drop tables and objects of old releases; never those of the champion or the previous one."""
    retention = RetentionSettings(keep_releases=keep)
    with output.services() as services:
        with services.connect() as conn:
            ledger.check_current(conn)
            known = ledger.all_releases(conn)
        keep_ids = releases.releases_to_keep(known, retention)
        drop_ids = [
            r.release_id for r in known if r.release_id not in keep_ids and r.state != "retired"
        ]
        retirement = releases.Retirement((), {})
        if drop_ids:
            output.confirm(f"Drop {', '.join(drop_ids)} permanently?", yes)
            with output.errors.status("dropping tables and objects"):
                retirement = releases.retire_old_releases(
                    services, retention, actor=output.actor(reason)
                )
    if as_json:
        output.print_json({"retired": retirement.retired, "skipped": retirement.skipped})
    elif drop_ids:
        console.print(f"Retired {', '.join(retirement.retired) or 'nothing'}.")
        for release_id, reason in retirement.skipped.items():
            console.print(f"Skipped {release_id}: {reason}")
    else:
        console.print("Nothing to retire.")


def _print_change(change: releases.ChampionChange) -> None:
    if not change.changed:
        console.print(f"{change.to_release} is already the champion; nothing was changed.")
        return
    console.print(
        f"[bold green]{change.to_release}[/] is the champion"
        + (f"; before, it was {change.from_release}" if change.from_release else "")
        + "."
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
