"""Data, lineage and vectors in the release report: everything besides the metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup

from recsys.contract import Metrics
from recsys.reports.charts import histogram

Json = Mapping[str, Any]
Pairs = list[tuple[str, str]]

_FIRST: Final = ("dataset_md5", "trainer_digest", "fingerprint", "code_revision", "seed")
_SETTINGS: Final = ("build_settings", "config", "chosen")
"""Parts of the lineage that people compare; the report shows them opened."""
_PART_TITLES: Final = {
    "build_settings": "Settings of the build",
    "config": "Settings of the trainer",
    "chosen": "Settings that the training chose",
    "fit_s": "Seconds of fitting",
    "seconds": "Seconds by phase",
}
_HISTOGRAMS: Final = {
    "user_activity": "users by their number of ratings",
    "movie_popularity": "movies by their number of ratings",
    "release_years": "movies by decade",
}
_MAX_BARS: Final = 24
_SHOWN_APART: Final = ("by_popularity", "franchises", "series")


def subtitle(metrics: Metrics, lineage: Json | None) -> str:
    """Returns the dataset and the size of the holdout, in one line."""
    text = f"evaluated on {metrics.holdout.rows or 0:,} held-out ratings"
    md5 = (lineage or {}).get("dataset_md5")
    return f"dataset {md5}, {text}" if md5 else text


def pairs(facts: Json | None, prefix: str = "") -> Pairs:
    """Flattens nested facts to (name, text) pairs."""
    return list(_flat(facts or {}, prefix))


def _flat(facts: Json, prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        label = f"{prefix}{str(name).replace('_', ' ')}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{label}, ")
        else:
            yield label, _text(value)


def _text(value: Any) -> str:
    if value is None or value == {}:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return str(value)


@dataclass(frozen=True)
class VectorTable:
    """Facts and quality of the movie vectors.

    Attributes:
        facts: single facts, such as the number of rows.
        similarities: the similarities that were measured; each has a hit rate and an NDCG.
        rows: for all movies, then by number of ratings: name, number of hidden movies, agreement
            with exact similarity, and hit rate and NDCG by similarity. None: not measured.
    """

    facts: Pairs
    similarities: tuple[str, ...]
    rows: list[tuple[str, int | None, float | None, list[float | None]]]


def movie_vectors(table: Json | None) -> VectorTable | None:
    """Returns the facts of the table of movie vectors; None without any."""
    if not table:
        return None
    shown = {name: value for name, value in table.items() if name not in ("digest", "quality")}
    quality = table.get("quality")
    if not isinstance(quality, Mapping):
        return VectorTable(pairs(shown), (), [])
    buckets = [b for b in quality.get("by_popularity") or () if isinstance(b, Mapping)]
    parts = [("all movies", quality)]
    parts += [(f"{bucket.get('ratings')} ratings", bucket) for bucket in buckets]
    similarities = tuple(dict.fromkeys(n for _, part in parts for n in part.get("found") or {}))
    known = {"found", "hidden", "agreement_at_10", *_SHOWN_APART}
    shown |= {name: value for name, value in quality.items() if name not in known}
    for name in ("franchises", "series"):
        shown[f"neighbors of the same {name}"] = quality.get(name) or "not measured"
    rows = [
        (
            name,
            part.get("hidden"),
            part.get("agreement_at_10"),
            [
                ((part.get("found") or {}).get(one) or {}).get(measure)
                for one in similarities
                for measure in ("hit_rate", "ndcg")
            ],
        )
        for name, part in parts
    ]
    return VectorTable(pairs(shown), tuple(n.replace("_", " ") for n in similarities), rows)


def data(stats: Json | None) -> dict[str, Any] | None:
    """Returns profile and quarantine of the dataset, or None without statistics."""
    if not stats:
        return None
    profile = stats.get("profile") or {}
    counts = {
        name: stats.get(name)
        for name in (
            "interactions",
            "train",
            "holdout",
            "later",
            "users",
            "movies",
            "rated_movies",
        )
    }
    shown = pairs({name: value for name, value in counts.items() if value is not None})
    for name in ("first_timestamp", "last_timestamp", "moment"):
        if stats.get(name) is not None:
            at = datetime.fromtimestamp(stats[name], UTC)
            label = (
                "time holdout from" if name == "moment" else name.replace("_timestamp", " rating")
            )
            shown.append((label, f"{at:%Y-%m-%d}"))
    shown += pairs({name: stats[name] for name in ("mean_rating", "density") if name in stats})
    charts = []
    ratings = profile.get("ratings") or stats.get("rating_histogram")
    if ratings:
        charts.append(_histogram("ratings", "Ratings by stars", ratings, "ratings"))
    for name, title in _HISTOGRAMS.items():
        if profile.get(name):
            charts.append(_histogram(name, title.capitalize(), profile[name], title.split()[0]))
    quarantine = [
        (file, str(rule).replace("_", " "), count, checked.get("rows"))
        for file, checked in (stats.get("files") or {}).items()
        for rule, count in (checked.get("quarantine") or {}).items()
    ]
    return {
        "facts": shown,
        "charts": charts,
        "quarantine": quarantine or [("all files", "no invalid rows", 0, None)],
    }


def _histogram(name: str, title: str, counts: Json, unit: str) -> tuple[Markup, str]:
    shown = dict(list(counts.items())[:_MAX_BARS])
    caption = title
    if len(shown) < len(counts):
        caption += f"; the first {len(shown)} of {len(counts)} bars"
    svg = histogram(f"data-{name.replace('_', '-')}", title, shown, unit)
    # Drawn by recsys.reports.charts, which escapes all outside text.
    return Markup(svg), caption  # noqa: S704  matplotlib escapes


def lineage_facts(facts: Json | None) -> dict[str, Any] | None:
    """Returns the lineage of a release: single facts first, then nested parts."""
    if not facts:
        return None
    single = {name: value for name, value in facts.items() if not isinstance(value, Mapping)}
    ordered = {name: single.pop(name) for name in _FIRST if name in single} | single
    # Digests and seeds are shown without thousands separators.
    plain = [
        (n.replace("_", " "), "not recorded" if v is None else str(v)) for n, v in ordered.items()
    ]
    nested = {name: value for name, value in facts.items() if isinstance(value, Mapping) and value}
    parts = [
        (_PART_TITLES.get(name, name.replace("_", " ").capitalize()), pairs(nested[name]))
        for name in sorted(nested, key=lambda name: name not in _SETTINGS)
    ]
    return {"facts": plain, "parts": parts, "open": sum(name in nested for name in _SETTINGS)}
