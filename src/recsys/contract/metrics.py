"""The metrics of a release: the content of ``metrics.json`` and of the manifest's ``metrics``.

Readers trust no value: a trainer from another image wrote it. A value that is missing, of a wrong
type, NaN, infinite or impossibly large is read as None, so that a consumer sees a number that it
can calculate with, or None. The gate rejects a release if a rule needs a metric that is None.
Unknown fields are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, ValidationError, WrapValidator, model_validator

from recsys.contract.lenient import (
    Count,
    Interval,
    MetricsPart,
    Number,
    Text,
    none_if_invalid,
    shorten_value,
)
from recsys.errors import ArtifactError, first_invalid_field

METRICS_SCHEMA: Final = 1
"""Number of the layout of `Metrics`."""
_SCHEMA_WITHOUT_NUMBER: Final = 1
"""The layout of releases made before the number existed."""


class Scores(MetricsPart):
    """Metrics of one recommender; None if not measured. `value` reads one by its name in the file.

    ``rmse`` and ``mae`` are in the scale of the dataset, ``novelty`` is in bits, all others are
    from 0 to 1.
    """

    rmse: Number = None
    mae: Number = None
    ndcg_10: Number = Field(default=None, alias="ndcg@10")
    recall_10: Number = Field(default=None, alias="recall@10")
    recall_20: Number = Field(default=None, alias="recall@20")
    mrr: Number = None
    liked_ndcg_10: Number = Field(default=None, alias="liked_ndcg@10")
    coverage: Number = None
    novelty: Number = None
    popularity_bias: Number = None
    low_rated_share: Number = None

    def values(self) -> dict[str, float]:
        """Returns the metrics that are not None, by their names in the file, e.g. ``ndcg@10``."""
        found = {
            field.alias or name: getattr(self, name) for name, field in Scores.model_fields.items()
        }
        return {name: value for name, value in found.items() if value is not None}

    def value(self, name: str) -> float | None:
        """Returns the metric called ``name`` in the file, e.g. ``ndcg@10``."""
        return self.values().get(name)


class Baselines(MetricsPart):
    """Metrics of the baselines; ``item_knn`` is None if it was skipped."""

    global_mean: Scores = Scores()
    movie_mean: Scores = Scores()
    bias: Scores = Scores()
    popularity: Scores = Scores()
    item_knn: Scores | None = None

    def by_name(self) -> dict[str, Scores]:
        """Returns the baselines that have metrics."""
        found: dict[str, Scores | None] = {
            name: getattr(self, name) for name in Baselines.model_fields
        }
        return {name: scores for name, scores in found.items() if scores and scores.values()}


class ChampionScores(Scores):
    """Metrics of the champion on the pairs of the holdout that it was not trained on.

    Attributes:
        release_id: the champion's.
        rows: pairs of the rating errors.
        users: users of these pairs.
        ranked_users: users of the ranking metrics.
        candidate: metrics of the candidate on the same pairs.
    """

    release_id: Text = None
    rows: Count = None
    users: Count = None
    ranked_users: Count = None
    candidate: Scores = Scores()


class SliceScores(Scores):
    """Metrics of the candidate on a slice of the holdout, with those of its references.

    Attributes:
        rows: pairs of the slice.
        users: users of these pairs.
        baselines: metrics of the baselines on the same pairs.
        champion: comparison with the champion; None without a champion.
        standard_errors: of the candidate's metric relative to a reference's, e.g. ``rmse / bias``;
            None if it cannot be estimated. Releases of older trainers have none.
    """

    rows: Count = None
    users: Count = None
    baselines: Baselines = Baselines()
    champion: ChampionScores | None = None
    standard_errors: Annotated[dict[str, Number] | None, WrapValidator(none_if_invalid)] = None


class CalibrationRow(MetricsPart):
    """Predictions where users gave this number of stars, and ratings where it was predicted."""

    stars: Number = None
    rows: Count = None
    mean_prediction: Number = None
    predicted_rows: Count = None
    mean_rating: Number = None


class HoldoutSize(MetricsPart):
    """Size of a holdout.

    Attributes:
        rows: pairs of the rating errors.
        users: users of these pairs.
        ranked_users: users of the ranking metrics: those with a training row, or a sample of
            20,000 of them; None: all.
    """

    rows: Count = None
    users: Count = None
    ranked_users: Count = None


class Confidence(MetricsPart):
    """Bootstrap confidence intervals at ``level``, by metric and by difference of two metrics."""

    level: Number = None
    resamples: Count = None
    model: Annotated[dict[str, Interval] | None, WrapValidator(none_if_invalid)] = None
    differences: Annotated[dict[str, Interval] | None, WrapValidator(none_if_invalid)] = None


Slices = dict[str, dict[str, SliceScores]]


class HoldoutMetrics(MetricsPart):
    """Metrics of a release on one holdout.

    Attributes:
        model: metrics of the candidate.
        baselines: metrics of the baselines on the same holdout.
        holdout: size of the holdout.
        slices: by dimension, then by slice.
        confidence: confidence intervals; None without resampling.
        champion: comparison with the champion on the same pairs; None without a champion.
    """

    model: Scores = Scores()
    baselines: Baselines = Baselines()
    holdout: HoldoutSize = HoldoutSize()
    slices: Annotated[Slices | None, WrapValidator(none_if_invalid)] = None
    confidence: Confidence | None = None
    champion: ChampionScores | None = None


class TimeHoldoutMetrics(HoldoutMetrics):
    """Metrics on all ratings from one moment on.

    Attributes:
        moment: time of the first of these ratings, seconds since 1970, UTC.
    """

    moment: Count = None


class Metrics(HoldoutMetrics):
    """Metrics of a release on its holdouts, as `recsys.evaluation.evaluate` returns them.

    The fields of `HoldoutMetrics` are those on each user's newest ratings.

    Attributes:
        metrics_schema: number of the layout, see `METRICS_SCHEMA`.
        calibration: one row per number of stars.
        skipped: why a baseline was skipped, by its name.
        time_holdout: metrics on all ratings from one moment on; None if there is no such holdout,
            or if an older trainer made the release.
        last_visit: metrics on the newest ratings that are a day or more after the user's training
            rows; None if there are none, without timestamps, or from an older trainer.
    """

    _must_be_object: ClassVar[bool] = True

    metrics_schema: int
    calibration: Annotated[list[CalibrationRow] | None, WrapValidator(none_if_invalid)] = None
    skipped: Annotated[dict[str, str] | None, WrapValidator(none_if_invalid)] = None
    time_holdout: TimeHoldoutMetrics | None = None
    last_visit: HoldoutMetrics | None = None

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        schema = value.get("metrics_schema", _SCHEMA_WITHOUT_NUMBER)
        if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
            raise ValueError(
                f"metrics_schema: found {shorten_value(schema)}, expected an integer of 1 or more"
            )
        if schema > METRICS_SCHEMA:
            raise ValueError(
                f"metrics_schema: found {schema}, expected at most {METRICS_SCHEMA}; "
                "a newer trainer made the release: upgrade recsys"
            )
        return {**value, "metrics_schema": schema}

    def to_json(self) -> bytes:
        """The metrics as they are stored, UTF-8."""
        return self.model_dump_json(indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> Metrics:
        """Reads stored metrics, those of releases without a schema number too.

        Raises:
            ArtifactError: the data are not a JSON object, or have a newer schema.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise ArtifactError(
                "the metrics of the release cannot be read",
                found=str(first_invalid_field(error)),
                expected=f"a JSON object with metrics_schema {METRICS_SCHEMA}",
                hint="upgrade recsys if a newer trainer wrote them; else train again",
            ) from error
