"""Writes build-settings.md from the code: ``python -m docs.make_build_settings``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from recsys.contract import BuildSettings
from trainer.config import TrainingConfig

PAGE: Final = Path(__file__).with_name("build-settings.md")
_HEAD: Final = """# Build settings

<!-- Written by `make docs`; a test compares it with the code. -->

A release is made from a dataset, a trainer and these settings. Each of them is part of the
build's fingerprint: another value makes another release, which the gate judges. Set them for the
pipeline in `RECSYS_BUILD_SETTINGS`, as JSON:

    RECSYS_BUILD_SETTINGS='{"trainer": {"seed": 20, "overrides": {"rating": {"epochs": 12}}}}'

and for an experiment on your own machine as `recsys train --set rating.epochs=12`. Values that
are not set have the default. `auto` means that the size of the dataset decides.
"""
_SIGNS: Final = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "multiple of"}


def page() -> str:
    """Returns the text of the page."""
    parts = [_HEAD]
    for title, note, model in (
        ("Features and trainer", "Keys of `RECSYS_BUILD_SETTINGS`.", BuildSettings),
        (
            "The trainer's models",
            "Keys of `trainer.overrides`, and names for `--set`.",
            TrainingConfig,
        ),
    ):
        parts.append(f"\n## {title}\n\n{note}\n\n| setting | default | range | meaning |\n")
        parts.append("| --- | --- | --- | --- |\n")
        for name, field in _fields(model, ""):
            parts.append(
                f"| `{name}` | {_default(field)} | {_range(field)} | "
                f"{_cell(field.description or '')} |\n"
            )
    return "".join(parts)


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _fields(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    return "auto" if value is None else f"`{json.dumps(value, default=str)}`"


def _range(field: FieldInfo) -> str:
    found = [
        f"{sign} {getattr(limit, name):g}"
        for limit in field.metadata
        for name, sign in _SIGNS.items()
        if getattr(limit, name, None) is not None
    ]
    return ", ".join(found)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("None:", "auto:")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
