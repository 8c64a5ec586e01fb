"""Commands that change which release is live, and that delete old ones."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from recsys import ledger, releases
from recsys.cli import output
from recsys.cli.defaults import KEEP_RELEASES
from recsys.cli.output import JsonOption, ReasonOption, YesOption, console
from recsys.cli.release_views import print_diff
from recsys.errors import LedgerError

ReleaseArgument = Annotated[str, typer.Argument(help="A release id; `recsys releases` lists them.")]


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
            f"Give the bucket {services.store.location} to the ledger of this database?", yes
        )
        previous = releases.adopt_bucket(services, actor=output.actor(reason))
        bucket = services.store.location
    if as_json:
        output.print_json({"bucket": bucket, "previous_owner": previous})
    else:
        console.print(
            f"The bucket {bucket} belongs to this ledger; before, to {previous or 'none'}."
        )


def retire(
    keep: Annotated[
        int, typer.Option("--keep", min=0, help="Number of newest complete releases to keep.")
    ] = KEEP_RELEASES,
    reason: ReasonOption = "retention",
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Drop tables and objects of old releases; never those of the champion or the previous one."""
    retention = releases.RetentionSettings(keep_releases=keep)
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
            console.print(output.safe(f"Skipped {release_id}: {reason}"))
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
