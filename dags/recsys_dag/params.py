"""The Params of the weekly DAG: one list, in the order of the form "Trigger".

Airflow's form marks a Param as required unless its type includes ``null``. It shows the Params
without a section first, and every section closed.
"""

from __future__ import annotations

from typing import Any, Final

from airflow.sdk import Param

from recsys.gate import GateSettings
from recsys.recommenders import Description
from recsys_dag import settings

BUILD_SECTION: Final = "Build of this run"
GATE_SECTION: Final = "Limits of the gate for this run"
_ABBREVIATIONS: Final = {"ndcg": "NDCG@10", "rmse": "RMSE"}


def pipeline_params(recommender: Description) -> dict[str, Param]:
    """Returns the Params of the weekly DAG: four that people change, and more."""
    return {
        "source": Param(
            settings.default_source(recommender),
            type="string",
            minLength=1,
            title="Dataset",
            description="Zip in MovieLens format: http(s)://, s3:// or a path; "
            "its md5 is read from <source>.md5. Credentials of a web server belong in the "
            f"Connection {recommender.connections.source}. To add mirrors, separate them by "
            "blanks; they are tried in order",
        ),
        "force": _switch("Judge again", "Run even if this build was judged before"),
        "accept_drift": _switch(
            "Accept drift", "Continue even if the dataset drifted beyond the hard limits"
        ),
        "require_approval": _switch(
            "Require approval",
            "A person must approve the accepted candidate before its promotion",
            default=recommender.require_approval,
        ),
        "seed": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            title="Seed",
            section=BUILD_SECTION,
            description="Seed of the training. Another one makes another release of the same "
            "dataset, e.g. to have one to roll back to; empty: that of the build settings",
        ),
        **_gate_params(recommender.gate),
    }


def _switch(title: str, description: str, default: bool = False) -> Param:
    """Makes a Param that is on or off."""
    return Param(default, type=["boolean", "null"], title=title, description=description)


def _gate_params(limits: GateSettings) -> dict[str, Param]:
    """Makes one Param for each field of `GateSettings`, with the field's JSON schema.

    An empty field of the form means the default, as `settings.gate_settings` reads it.
    """
    properties = GateSettings.model_json_schema()["properties"]
    fields = GateSettings.model_fields
    params = {}
    for name, schema in properties.items():
        schema.pop("default", None)
        default, title = getattr(limits, name), fields[name].title or _title(name)
        description = schema.pop("description", title)
        params[settings.GATE_PREFIX + name] = Param(
            default,
            **{**schema, **_nullable(schema), "title": title, "section": GATE_SECTION},
            description=f"{description[0].upper()}{description[1:]}; empty: {default}",
        )
    return params


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Returns the parts of a field's JSON schema that change if null is to be valid too."""
    if "anyOf" in schema:
        return {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    changed: dict[str, Any] = {"type": [*(kind for kind in types if kind != "null"), "null"]}
    if "enum" in schema:
        changed["enum"] = [*schema["enum"], None]
    return changed


def _title(name: str) -> str:
    """Returns a field's name as words: ``max_rmse_rise`` is "Max RMSE rise"."""
    words = " ".join(_ABBREVIATIONS.get(word, word) for word in name.split("_"))
    return words[0].upper() + words[1:]
