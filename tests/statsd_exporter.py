"""What Prometheus' StatsD exporter makes of StatsD lines, by its documented rules.

The exporter is a Go program without a package in the registries of Debian, PyPI or npm. Where it is
installed, test_exported_names.py compares it with this model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

Series = dict[str, set[str]]
"""Names of labels by name of series."""
_HISTOGRAM = ("_bucket", "_sum", "_count")


def exported(
    samples: Iterable[tuple[str, Mapping[str, str], str, str]],
    mappings: Iterable[Mapping[str, Any]],
) -> Series:
    """Returns the series of samples (name, tags, value, type).

    Tags in InfluxDB's notation become labels. An exact name in the mapping gives the new name;
    characters other than letters, digits and ``_`` become ``_``. A timing is a histogram if its
    mapping says so, otherwise a summary.
    """
    by_name = {line["match"]: line for line in mappings}
    found: Series = {}
    for name, tags, _, kind in samples:
        line = by_name.get(name, {})
        series = line.get("name") or re.sub(r"[^a-zA-Z0-9_]", "_", name)
        labels = {*tags, *line.get("labels", {})}
        if kind != "ms":
            found.setdefault(series, set()).update(labels)
            continue
        histogram = line.get("observer_type") == "histogram"
        for suffix in _HISTOGRAM if histogram else ("", "_sum", "_count"):
            extra = {"le"} if suffix == "_bucket" else {"quantile"} if not suffix else set()
            found.setdefault(series + suffix, set()).update(labels | extra)
    return found
