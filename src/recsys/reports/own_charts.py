"""Charts that a trainer draws itself: artifacts of the release that the report shows as images.

An image in a page runs no script and loads nothing, also not an SVG file. So the content of these
files, which another image wrote, cannot change the page.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recsys import contract
from recsys.contract import Manifest
from recsys.errors import ArtifactError
from recsys.object_store import ObjectStore

log = logging.getLogger(__name__)

PREFIX: Final = "charts/"
"""Artifacts below this name, ``charts/<words>.svg`` or ``.png``, are shown in the report."""
MAX_CHARTS: Final = 12
MAX_BYTES: Final = 1 << 20
_TYPES: Final = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True)
class OwnChart:
    """An image for the report.

    Attributes:
        caption: the file's name in words.
        address: the image as a ``data:`` address.
    """

    caption: str
    address: str

    @classmethod
    def of(cls, name: str, content: bytes) -> OwnChart:
        """Makes a chart from a file's name and content."""
        path = Path(name)
        data = base64.b64encode(content).decode()
        caption = path.stem.replace("-", " ").replace("_", " ")
        return cls(caption, f"data:{_TYPES[path.suffix]};base64,{data}")


def own_charts(store: ObjectStore, manifest: Manifest) -> tuple[OwnChart, ...]:
    """Reads the charts among the artifacts of a release, by name.

    At most `MAX_CHARTS` files of at most `MAX_BYTES` are read; a file that cannot be read is left
    out.
    """
    chosen = sorted(a.name for a in manifest.artifacts if _is_chart(a.name, a.size))[:MAX_CHARTS]
    return tuple(_read(store, manifest.release_id, chosen))


def own_charts_in(folder: Path) -> tuple[OwnChart, ...]:
    """Reads the charts of a local training, from ``charts/`` in the folder of its artifacts."""
    files = sorted(path for path in (folder / PREFIX).glob("*") if path.is_file())
    shown = [path for path in files if _is_chart(f"{PREFIX}{path.name}", path.stat().st_size)]
    return tuple(OwnChart.of(path.name, path.read_bytes()) for path in shown[:MAX_CHARTS])


def _is_chart(name: str, size: int) -> bool:
    return name.startswith(PREFIX) and Path(name).suffix in _TYPES and 0 < size <= MAX_BYTES


def _read(store: ObjectStore, release_id: str, names: list[str]) -> Iterator[OwnChart]:
    for name in names:
        key = contract.release_key(release_id, name)
        try:
            yield OwnChart.of(name, store.get_bytes(key))
        except ArtifactError as error:
            log.info("left out of the report: %s", error)
