"""Facts of the release report that are no charts of quality: data, lineage, vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup

from recsys.reports.charts import histogram

Json = Mapping[str, Any]
Pairs = list[tuple[str, str]]

_FIRST: Final = ("dataset_md5", "trainer_digest", "fingerprint", "code_revision", "seed")
_HISTOGRAMS: Final = {
    "user_activity": "users by their number of ratings",
    "movie_popularity": "movies by their number of ratings",
    "release_years": "movies by decade",
}
_MOST_BARS: Final = 24


def subtitle(metrics: Json, lineage: Json | None) -> str:
    """Where it comes from, in a line."""
    held = metrics.get("holdout") or {}
    said = f"measured on {held.get('rows', 0):,} held-out ratings"
    md5 = (lineage or {}).get("dataset_md5")
    return f"dataset {md5}, {said}" if md5 else said


def pairs(facts: Json | None, prefix: str = "") -> Pairs:
    """Nested facts as flat (name, text) pairs."""
    return list(_flat(facts or {}, prefix))


def _flat(facts: Json, prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        label = f"{prefix}{str(name).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{label}, ")
        else:
            yield label, _text(value)


def _text(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return str(value)


def vector_facts(facts: Json | None) -> Pairs:
    """Rows and quality of the movie vectors, over all movies and by their number of ratings."""
    known = {name: value for name, value in (facts or {}).items() if name != "digest"}
    quality = known.get("quality")
    if isinstance(quality, Mapping):
        known["quality"] = {k: v for k, v in quality.items() if k != "by_popularity"}
        for bucket in quality.get("by_popularity") or ():
            known[f"movies of {bucket.get('ratings')} ratings"] = bucket.get("found") or {}
    return pairs(known)


def data(stats: Json | None) -> dict[str, Any] | None:
    """Profile and quarantine of the dataset; None without statistics."""
    if not stats:
        return None
    profile = stats.get("profile") or {}
    counts = {
        name: stats.get(name)
        for name in ("interactions", "train", "holdout", "users", "movies", "rated_movies")
    }
    shown = pairs({name: value for name, value in counts.items() if value is not None})
    for name in ("first_timestamp", "last_timestamp"):
        if stats.get(name) is not None:
            at = datetime.fromtimestamp(stats[name], UTC)
            shown.append((name.replace("_timestamp", " rating"), f"{at:%Y-%m-%d}"))
    shown += pairs({name: stats[name] for name in ("mean_rating", "density") if name in stats})
    charts = []
    ratings = profile.get("ratings") or stats.get("rating_histogram")
    if ratings:
        charts.append(_histogram("ratings", "Ratings by stars", ratings, "ratings"))
    for name, title in _HISTOGRAMS.items():
        if profile.get(name):
            charts.append(_histogram(name, title.capitalize(), profile[name], title.split()[0]))
    quarantine = [
        (file, str(rule).replace("_", " "), count, found.get("rows"))
        for file, found in (stats.get("files") or {}).items()
        for rule, count in (found.get("quarantine") or {}).items()
    ]
    return {
        "facts": shown,
        "charts": charts,
        "quarantine": quarantine or [("all files", "no row broke a rule", 0, None)],
    }


def _histogram(name: str, title: str, counts: Json, unit: str) -> tuple[Markup, str]:
    shown = dict(list(counts.items())[:_MOST_BARS])
    drawn = histogram(f"data-{name.replace('_', '-')}", title, shown, unit)
    # Drawn by report_charts, which escapes all text from outside.
    return Markup(drawn), title  # noqa: S704


def lineage(facts: Json | None) -> dict[str, Any] | None:
    """What the release was made of: single facts first, then its nested parts."""
    if not facts:
        return None
    single = {name: value for name, value in facts.items() if not isinstance(value, Mapping)}
    ordered = {name: single.pop(name) for name in _FIRST if name in single} | single
    # A digest or a seed is a name: it has no thousands.
    plain = [(n.replace("_", " "), "unknown" if v is None else str(v)) for n, v in ordered.items()]
    parts = [
        (name.replace("_", " ").capitalize(), pairs(value))
        for name, value in facts.items()
        if isinstance(value, Mapping) and value
    ]
    return {"facts": plain, "parts": parts}
