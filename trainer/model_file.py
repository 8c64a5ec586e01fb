"""Writes a model's file: the same bytes for the same model, and the backends that load it."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import keras

from recsys.contract import RequiredBackend

_METADATA: Final = "metadata.json"
_CONFIG: Final = "config.json"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold."""
_SHARED: Final = "shared_object_id"
_DATE_SAVED: Final = "1980-01-01@00:00:00"
_OF_TENSORFLOW: Final = frozenset(
    {"Hashing", "HashedCrossing", "IntegerLookup", "StringLookup", "TextVectorization"}
)
"""Stock layers that Keras cannot make without TensorFlow."""


def save_model(model: keras.Model, path: Path) -> None:
    """Saves a model as Keras does, but without what differs each time.

    That is the time at which it was saved, and the memory addresses by which its description says
    that layers share an object; these become 1, 2, and so on.

    Args:
        model: the model; its layers need names of their own, because Keras counts unnamed ones.
        path: the file to write, ``.keras``.
    """
    with TemporaryDirectory(prefix="recsys-model-", dir=path.parent) as folder:
        dated = Path(folder) / path.name
        model.save(dated)
        with zipfile.ZipFile(dated) as source, zipfile.ZipFile(path, "w") as target:
            for member in source.infolist():
                undated = zipfile.ZipInfo(member.filename, _EPOCH)
                if member.filename == _METADATA:
                    metadata = json.loads(source.read(member)) | {"date_saved": _DATE_SAVED}
                    target.writestr(undated, json.dumps(metadata))
                    continue
                if member.filename == _CONFIG:
                    config = _numbered(json.loads(source.read(member)), {})
                    target.writestr(undated, json.dumps(config))
                    continue
                undated.file_size = member.file_size
                with source.open(member) as old, target.open(undated, "w") as new:
                    shutil.copyfileobj(old, new, 1 << 20)


def _numbered(config: Any, numbers: dict[int, int]) -> Any:
    """Returns a description whose shared objects are numbered in the order in which they occur."""
    if isinstance(config, list):
        return [_numbered(item, numbers) for item in config]
    if not isinstance(config, dict):
        return config
    return {
        name: numbers.setdefault(value, len(numbers) + 1)
        if name == _SHARED and isinstance(value, int)
        else _numbered(value, numbers)
        for name, value in config.items()
    }


def required_backend(path: Path) -> RequiredBackend:
    """Returns which of Keras' backends load a model's file: any, or TensorFlow only."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read(_CONFIG))
    return "tensorflow" if _needs_tensorflow(config) else "any"


def _needs_tensorflow(config: Any) -> bool:
    """Whether a layer of a model's description, nested or not, needs TensorFlow."""
    if isinstance(config, list):
        return any(map(_needs_tensorflow, config))
    if not isinstance(config, dict):
        return False
    return config.get("class_name") in _OF_TENSORFLOW or _needs_tensorflow(list(config.values()))
