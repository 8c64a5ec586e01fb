"""What the gate evaluates: the metrics of a release, and facts about what it serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from recsys.contract import (
    GOLDEN_FILE,
    STARS,
    Count,
    Manifest,
    MeasuredMetrics,
    Metrics,
    MetricsPart,
    Number,
    RatingScale,
    Text,
)
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
    """The served model on the holdout, by the trainer, in the scale of the dataset.

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
        scale: of its dataset; rating errors are in it, and limits in stars are mapped to it.
        serving: the served model. Its ``shift_rmse`` is the measured one if there is one.
        stated: what the trainer stated, as JSON; None if nothing was measured.
        measured: what the verifier measured in its place, as JSON; None if nothing was measured.
        drift: measures of drift from the champion's dataset, by name.
        drift_accepted: whether a person accepted the drift for this run.
        movie_vectors: quality of the movie vectors.
        contents: digests of what the site serves, by name.
        served: measurements of the served tables.
    """

    release_id: Text = None
    scale: RatingScale = STARS
    serving: ServedModel | None = None
    stated: Annotated[dict[str, Any] | None, BeforeValidator(_object_or_none)] = None
    measured: Annotated[dict[str, Any] | None, BeforeValidator(_object_or_none)] = None
    drift: Annotated[dict[str, Number] | None, BeforeValidator(_object_or_none)] = None
    drift_accepted: bool = False
    movie_vectors: VectorQuality | None = None
    contents: Annotated[dict[str, Any] | None, BeforeValidator(_object_or_none)] = None
    served: ServedFacts | None = None


def judged_metrics(
    manifest: Manifest,
    tables: Mapping[str, Any],
    drift: Mapping[str, float] | None = None,
    served: ServedFacts | None = None,
    measured: MeasuredMetrics | None = None,
    *,
    drift_accepted: bool = False,
) -> JudgedMetrics:
    """Combines the metrics of a release with facts about what it serves.

    The metrics are the measured ones. Those of the manifest, which the trainer wrote, are judged
    only of releases that were never measured.

    Args:
        manifest: the release's.
        tables: facts about its tables from the ledger, by table.
        drift: measures of drift from the champion's dataset by name; None if unknown.
        served: measurements of the served tables; None if they were not measured.
        measured: the verifier's measurement; None for a release of an earlier pipeline.
        drift_accepted: whether a person accepted the drift for this run.
    """
    stated = manifest.metrics.model_dump(mode="json")
    serving = manifest.serving.model_dump(mode="json")
    facts = {name: one for name, one in tables.items() if isinstance(one, Mapping)}
    return JudgedMetrics.model_validate(
        {
            **(measured.metrics.model_dump(mode="json") if measured else stated),
            "release_id": manifest.release_id,
            "scale": manifest.build.features.scale,
            "serving": serving | (_served_model(measured) if measured else {}),
            # Of a release that was not measured, no field of its metrics may take their place.
            **(
                _both(stated, serving, measured)
                if measured
                else dict.fromkeys(("stated", "measured"))
            ),
            "drift": drift,
            "drift_accepted": drift_accepted,
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


def _served_model(measured: MeasuredMetrics) -> dict[str, float]:
    return {"shift_rmse": measured.served.shift_rmse, "rmse": measured.served.rmse}


def _both(
    stated: dict[str, Any], serving: dict[str, Any], measured: MeasuredMetrics
) -> dict[str, Any]:
    """Returns what the trainer stated, and what was measured in its place."""
    ours = {"interactions": measured.interactions, **_served_model(measured)}
    # A trainer need not record the RMSE of the served model.
    ours = {name: value for name, value in ours.items() if serving.get(name) is not None}
    return {
        "stated": {**stated, "serving": {name: serving[name] for name in ours}},
        "measured": {**measured.metrics.model_dump(mode="json"), "serving": ours},
    }
