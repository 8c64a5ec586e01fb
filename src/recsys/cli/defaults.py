"""Defaults of options that other packages define; importing those for a help would be slow.

A test compares them.
"""

from __future__ import annotations

from typing import Final

SEED: Final = 20
"""Of a training: `recsys.contract.TrainerSettings`."""

KEEP_RELEASES: Final = 5
"""Complete releases that retirement keeps: `recsys.releases.RetentionSettings`."""

ORPHAN_HOURS: Final = 168.0
"""For which an orphan must not have changed: `recsys.releases.GRACE`."""

MAX_SAMPLE: Final = 100_000_000
"""Ratings to generate, three times MovieLens' largest dataset; a slip would fill the disk."""
