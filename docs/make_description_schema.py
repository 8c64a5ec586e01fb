"""Writes recommenders/schema.json, by which editors check descriptions."""

from __future__ import annotations

import json
from pathlib import Path

from recsys import recommenders


def write() -> None:
    """Writes the schema of the code's descriptions."""
    path = Path(__file__).resolve().parents[1] / "recommenders" / "schema.json"
    path.write_text(json.dumps(recommenders.description_schema(), indent=2) + "\n")


if __name__ == "__main__":
    write()
