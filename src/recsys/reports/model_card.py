"""The model card: what the release is for, its data, its limits, and how to load it.

The headings follow Mitchell et al., "Model cards for model reporting" (FAT* 2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from recsys import contract
from recsys.contract import STARS, Metrics, RatingScale
from recsys.reports.slices import SliceView

_LOAD: Final = """\
import keras, numpy as np  # stock Keras, no code of the trainer

model = keras.saving.load_model("model.keras", safe_mode=True)
stars = model.predict({"userId": np.array([1]), "movieId": np.array([318])})"""


@dataclass(frozen=True)
class ModelCard:
    """Texts of the section.

    Attributes:
        use: what the release is for.
        not_for: what it is not for.
        data: dataset, its size and its licence.
        limits: what is known about its weaknesses, with this release's numbers.
        where: where the files of the release are.
        load: Python code that loads the model.
    """

    use: str
    not_for: str
    data: str
    limits: tuple[str, ...]
    where: str
    load: str


def model_card(
    metrics: Metrics,
    release_id: str | None,
    lineage: Mapping[str, Any] | None,
    stats: Mapping[str, Any] | None,
    slices: list[SliceView],
    scale: RatingScale = STARS,
) -> ModelCard:
    """Writes the model card of a release or of a local training.

    Args:
        metrics: the metrics of the release.
        release_id: None for a local training.
        lineage: lineage of the release.
        stats: statistics of the features.
        slices: the slices as the report shows them, the worst first.
        scale: of the ratings.
    """
    if release_id:
        key = contract.release_key(release_id, contract.MODEL_FILE)
        tables = ", ".join(
            f"{contract.LEDGER_SCHEMA}.{contract.table_name(table.name, release_id)}"
            for table in contract.PUBLIC_TABLES
        )
        where = f"Model: {key} in the bucket. Vectors: the tables {tables} in PostgreSQL."
    else:
        where = f"Model: {contract.MODEL_FILE} in the folder of the training."
    return ModelCard(
        use=f"Predicts the {'stars' if scale.is_stars else 'rating'} ({scale.min:g} to "
        f"{scale.max:g}) that a user would give a movie, "
        "recommends movies to users of the dataset, and finds similar movies.",
        not_for="It knows nothing about people besides their ratings: do not use it to judge "
        "people, or to guess their traits.",
        data=_data(lineage, stats),
        limits=tuple(_limits(metrics, slices)),
        where=where,
        load=_LOAD,
    )


def _data(lineage: Mapping[str, Any] | None, stats: Mapping[str, Any] | None) -> str:
    facts = stats or {}
    size = ", ".join(
        f"{facts[name]:,} {words}"
        for name, words in (("interactions", "ratings"), ("users", "users"), ("movies", "movies"))
        if isinstance(facts.get(name), int)
    )
    md5 = (lineage or {}).get("dataset_md5")
    known = "; ".join(filter(None, [f"dataset with md5 {md5}" if md5 else "", size]))
    return (
        f"{known[:1].upper()}{known[1:]}{'. ' if known else ''}"
        "The license of the dataset's publisher applies to the release too; it is in the README "
        "of the zip. MovieLens data needs GroupLens' permission for commercial use."
    )


def _limits(metrics: Metrics, slices: list[SliceView]) -> Iterator[str]:
    yield (
        f"The metrics are measured offline, on {metrics.holdout.rows or 0:,} held-out ratings: "
        "they say how well past ratings are predicted, not what people would watch."
    )
    coverage, bias = metrics.model.coverage, metrics.model.popularity_bias
    if coverage is not None:
        yield f"{coverage:.1%} of the movies are recommended to anyone in the evaluation."
    if bias is not None:
        yield f"Popularity bias of the recommendations, from 0 to 1: {bias:.2f}."
    for view in slices:
        worst = view.rows[0]
        if worst.change is not None:
            yield (
                f"{view.title}: worst in {worst.name}, {worst.change:+.1%} against the "
                f"{view.reference}."
            )
    yield (
        "The model also predicts for a user or a movie that it does not know; such a prediction "
        "says nothing about this user or movie."
    )
