"""The state diagram in docs/releases.md shows the moves of the code; the database has them, too."""

from __future__ import annotations

import re
from pathlib import Path

from recsys.ledger import MOVES, NEW

RELEASES = Path(__file__).parents[3] / "docs" / "releases.md"
ARROW = re.compile(r"^ +(\S+) --> (\w+)(?:: (.+))?$", re.MULTILINE)


def test_the_diagram_shows_exactly_the_moves_of_the_code() -> None:
    text = RELEASES.read_text(encoding="utf-8")
    diagram = text.partition("stateDiagram-v2")[2].partition("```")[0]
    arrows = [(NEW if a == "[*]" else a, b) for a, b, _ in ARROW.findall(diagram)]
    assert sorted(arrows) == sorted((a, b.value) for a, to in MOVES.items() for b in to)
