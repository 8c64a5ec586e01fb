"""What the gate evaluates: the metrics of a release, and facts about what it serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from recsys.contract import GOLDEN_FILE, Count, Manifest, Metrics, MetricsPart, Number, Text
from recsys.gate.facts import ServedFacts


def _object_or_none(value: object) -> object:
    return value if isinstance(value, Mapping) else None


class HitRate(MetricsPart):
    """Share of held-out liked movies that a list of neighbors contains."""

    hit_rate: Number = None


class HitRates(MetricsPart):
    """Hit rates of the movie vectors and of the most popular movies, for the same users."""

    movie_vectors: HitRate = HitRate()
    popularity: HitRate = HitRate()


class VectorQuality(MetricsPart):
    """Quality of the movie vectors; ``asked`` is the number of users it was measured for."""

    asked: Count = None
    found: HitRates = HitRates()


class ServedModel(MetricsPart):
    """The served model on the holdout, in stars, by the trainer.

    Attributes:
        shift_rmse: how far its predictions are from the evaluated model's.
        rmse: how far they are from the ratings, to which it was fitted; None if not recorded.
    """

    shift_rmse: Number = None
    rmse: Number = None


class JudgedMetrics(Metrics):
    """The metrics of a release and facts about what it serves; unknown facts are None.

    Attributes:
        release_id: the release.
        serving: the served model.
        drift: measures of drift from the champion's dataset, by name.
        movie_vectors: quality of the movie vectors.
        contents: digests of what the site serves, by name.
        served: measurements of the served tables.
    """

    release_id: Text = None
    serving: ServedModel | None = None
    drift: Annotated[dict[str, Number] | None, BeforeValidator(_object_or_none)] = None
    movie_vectors: VectorQuality | None = None
    contents: Annotated[dict[str, Any] | None, BeforeValidator(_object_or_none)] = None
    served: ServedFacts | None = None


def judged_metrics(
    manifest: Manifest,
    tables: Mapping[str, Any],
    drift: Mapping[str, float] | None = None,
    served: ServedFacts | None = None,
) -> JudgedMetrics:
    """Combines the metrics of a manifest with facts about what the release serves.

    Args:
        manifest: the release's.
        tables: facts about its tables from the ledger, by table.
        drift: measures of drift from the champion's dataset by name; None if unknown.
        served: measurements of the served tables; None if they were not measured.
    """
    facts = {name: one for name, one in tables.items() if isinstance(one, Mapping)}
    return JudgedMetrics.model_validate(
        {
            **manifest.metrics.model_dump(mode="json"),
            "release_id": manifest.release_id,
            "serving": manifest.serving.model_dump(mode="json"),
            "drift": drift,
            "served": served.model_dump(mode="json") if served else None,
            "movie_vectors": facts.get("movie_vectors", {}).get("quality"),
            # The bytes of a saved model contain the time at which it was saved, so its golden
            # predictions identify it.
            "contents": {
                GOLDEN_FILE: manifest.artifact(GOLDEN_FILE).sha256,
                **{name: one.get("digest") for name, one in sorted(facts.items())},
            },
        }
    )
