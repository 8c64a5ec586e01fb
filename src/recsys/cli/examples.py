"""The examples in each command's help; a test parses them all."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Final

from rich.markup import escape

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "demo": ("recsys demo", "recsys demo --source ml-25m.zip"),
    "run": (
        "recsys run --source https://files.example.org/ml.zip",
        "recsys run --force",
        "recsys run --seed 21",
    ),
    "validate": ("recsys validate ml-25m.zip", "recsys validate ml-25m.zip --out features"),
    "replay": ("recsys replay ml.zip --ratings repaired.csv --out ml-repaired.zip",),
    "replay-history": ("recsys replay-history --source ml.zip --every 4w --dumps 24",),
    "sample": ("recsys sample small.zip --ratings 20000",),
    "train": (
        "recsys train --source ml.zip --set rating.epochs=12 --open",
        "recsys train --champion live --no-refit",
    ),
    "experiments": (
        "recsys experiments list",
        "recsys experiments show latest",
        "recsys experiments compare 20261127-1 20261127-2",
        "recsys experiments compare latest 20261127-1 --html compared.html",
    ),
    "evaluate": ("recsys evaluate --split temporal-20 --source ml.zip",),
    "tune": ("recsys tune --trials 30 --objective ndcg@10",),
    "bench": (
        "recsys bench --ratings 100000 --no-reference",
        "recsys bench --whole --ratings 100000",
    ),
    "status": ("recsys status", "recsys status --json | jq .champion.release_id"),
    "why": ("recsys why", "recsys why 8f2b6c1d-0a9e4f37"),
    "report": ("recsys report --open", "recsys report 8f2b6c1d-0a9e4f37 --out report.html"),
    "sign": (
        "recsys sign --key signing.pem --reason 'releases are signed from now on'",
        "recsys sign 8f2b6c1d-0a9e4f37 --key new.pem --reason 'new key'",
    ),
    "verify": (
        "recsys verify 8f2b6c1d-0a9e4f37",
        "recsys verify 8f2b6c1d-0a9e4f37 --keys recsys.pub --json | jq .verdict",
    ),
    "reproduce": (
        "recsys reproduce 8f2b6c1d-0a9e4f37",
        "recsys reproduce 8f2b6c1d-0a9e4f37 --json | jq .verdict",
    ),
    "mlflow": (
        "recsys mlflow --tracking-uri https://mlflow.example.org",
        "recsys mlflow --tracking-uri sqlite:///mlflow.db --model movies",
    ),
    "releases": ("recsys releases", "recsys releases --json | jq '.[].state'"),
    "promote": (
        "recsys promote 8f2b6c1d-0a9e4f37 --dry-run",
        "recsys promote 8f2b6c1d-0a9e4f37 --reason 'approved by the editors'",
    ),
    "rollback": (
        "recsys rollback --reason 'complaints about westerns'",
        "recsys rollback --to 8f2b6c1d-0a9e4f37 --reason 'the last good one' --yes",
    ),
    "recover": ("recsys recover",),
    "adopt": ('recsys adopt --reason "moved to a new database"',),
    "retire": ("recsys retire --keep 3 --reason 'disk is short'",),
    "erase": (
        "recsys erase --user 4711 --reason 'request 2026-118'",
        "recsys erase --file ids.csv --reason 'closed accounts' --yes",
        "recsys erase --verify --certificate certificate.json",
    ),
    "clean": ("recsys clean --dry-run", "recsys clean --older-than-hours 24 --yes"),
    "similar": ("recsys similar 'Toy Story'", "recsys similar 1 -n 5"),
    "recommend": (
        "recsys recommend --user 1",
        "recsys recommend --user 1 --no-stars",
        "recsys recommend --rated 'Toy Story=5' --rated 'Heat=2'",
    ),
    "up": ("recsys up", "recsys up --data-only"),
    "site": ("RECSYS_RECOMMENDER=books recsys site", "recsys site --stop"),
    "down": ("recsys down",),
    "env": ('eval "$(recsys env)"',),
    "doctor": ("recsys doctor", "recsys doctor --connections"),
    "recommender": (
        "recsys recommender add books --source https://example.com/ratings.zip",
        "recsys recommender check",
        "recsys recommender remove books --export books-export --yes",
    ),
    "inventory": ("recsys inventory", "recsys inventory --json > before.json"),
    "export": ("recsys export /backup/movies",),
    "import": ('recsys import /backup/movies --reason "new database server"',),
    "alerts": ("recsys alerts", "recsys alerts --test"),
}


def wrapped_help(callback: Callable[..., object]) -> str:
    """Returns a command's docstring with one line for each paragraph.

    Typer would keep the line breaks of the docstring.
    """
    paragraphs = (inspect.getdoc(callback) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def examples_of(name: str) -> str:
    """Returns a command's examples in Rich's markup, one paragraph each."""
    return "\n\n".join(f"[dim]$[/] {escape(line)}" for line in EXAMPLES.get(name, ()))
