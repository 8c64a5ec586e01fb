"""The commands that sign releases and prove where they come from."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.padding import Padding

from recsys import ledger, releases
from recsys.cli import extras, output
from recsys.cli.output import JsonOption, ReasonOption, console
from recsys.cli.release_views import ReleaseOrChampionArgument
from recsys.errors import ConfigurationError
from recsys.signing import find_signing_key, read_public_keys

EXIT_UNPROVEN: Final = 3
# By the values of StepResult and Verdict, whose import needs the servers' clients.
_MARKS: Final = {
    "ok": "[green]✓[/]",
    "changed": "[red]✗[/]",
    "unproven": "[yellow]![/]",
    "absent": "[yellow]-[/]",
}
_RESULTS: Final = {
    "proven": "[green]proven[/]: everything is what was signed",
    "changed": "[red]changed[/]: do not use it before you know who changed what is marked ✗",
    "unproven": "[yellow]not proven[/]: what is there agrees, but nobody's signature says so",
}


def verify(
    release: ReleaseOrChampionArgument = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            exists=True,
            help="A file or folder with trusted public keys; by default RECSYS_VERIFICATION_KEYS.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove a release: from its dataset to the served names, with what was changed.

    Reads every file and table. The exit code is 0 if all is what was signed, 1 if something was
    changed, 3 if there is no signature or no public key.
    """
    with output.services() as services, output.errors.status("reading files and tables"):
        trusted = read_public_keys(keys) if keys else None
        proof = releases.prove_release(services, release, trusted)
    if as_json:
        output.print_json(
            {
                "release_id": proof.release_id,
                "verdict": proof.verdict,
                "changed": [s.name for s in proof.steps if s.result is releases.StepResult.CHANGED],
                "steps": [asdict(step) for step in proof.steps],
            }
        )
    else:
        for step in proof.steps:
            console.print(f"{_MARKS[step.result]} {output.safe(step.name)}")
            console.print(Padding(output.safe(step.detail), (0, 0, 0, 2)))
        console.print(f"{proof.release_id} is {_RESULTS[proof.verdict]}.")
    if proof.verdict is not releases.Verdict.PROVEN:
        changed = proof.verdict is releases.Verdict.CHANGED
        raise typer.Exit(output.EXIT_FAILED if changed else EXIT_UNPROVEN)


def sign(
    release: Annotated[
        list[str] | None,
        typer.Argument(help="Releases to sign; by default all that can be promoted."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            exists=True,
            dir_okay=False,
            help="File with the private key; by default RECSYS_SIGNING_KEY_FILE.",
        ),
    ] = None,
    reason: ReasonOption = "signed",
    as_json: JsonOption = False,
) -> None:
    """Sign releases that have no signature, or one of an earlier key.

    For releases from before there was a key, and for a new key. Files and tables of each release
    are checked first. A release that differs from its signature is refused.
    """
    extras.require("sign")
    variables = {"RECSYS_SIGNING_KEY_FILE": str(key)} if key else os.environ
    private = find_signing_key(variables)
    if private is None:
        raise ConfigurationError(
            "there is no key to sign with",
            expected="--key, or RECSYS_SIGNING_KEY_FILE",
            hint="docs/proving-a-release.md shows how to make a pair of keys",
        )
    with output.services() as services:
        actor = output.actor(reason)
        with services.connect() as conn:
            ledger.check_current(conn)
            servable = [
                r.release_id for r in ledger.retained_releases(conn) if r.state in ledger.SERVABLE
            ]
        done = []
        for release_id in release or servable:
            with output.errors.status(f"checking and signing {release_id}"):
                done.append(releases.sign_release(services, release_id, private, actor=actor))
            if not as_json:
                what = "signed" if done[-1].changed else "was already signed"
                console.print(f"{release_id} {what} with key {done[-1].key}.")
    if as_json:
        output.print_json([asdict(each) for each in done])
    elif not done:
        console.print("There is no release to sign.")
