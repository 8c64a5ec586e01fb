"""Loading of stored models without TensorFlow, which one layer of earlier releases needs.

Such releases look up ids by `keras.layers.IntegerLookup`, as do later ones with ids from 2**24 on.
In a copy of their file the layer is replaced by one of this module with the same result; nothing
else is changed.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from recsys_site.model import UnsupportedModelError

_CONFIG: Final = "config.json"
_PACKAGE: Final = "recsys_site"
_OF_TENSORFLOW: Final = frozenset(
    {"Hashing", "HashedCrossing", "IntegerLookup", "StringLookup", "TextVectorization"}
)
"""Stock layers that Keras cannot make without TensorFlow."""


@keras.saving.register_keras_serializable(package=_PACKAGE)
class IdLookup(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Maps ids to their place in a vocabulary, counted from 1; 0 is for other ids.

    Args:
        vocabulary: the ids.
        more: arguments of `keras.layers.Layer`.
    """

    def __init__(self, vocabulary: list[int], **more: Any) -> None:
        super().__init__(trainable=False, **more)
        ids = np.asarray(vocabulary, np.int64)
        self._order = np.argsort(ids)
        self._sorted = ids[self._order]

    def call(self, ids: Any) -> NDArray[np.int64]:
        """Returns the places of ids, of the same shape."""
        ids = np.asarray(ids, np.int64)
        at = np.minimum(np.searchsorted(self._sorted, ids), len(self._sorted) - 1)
        return np.where(self._sorted[at] == ids, self._order[at] + 1, 0)


def load_model(path: Path) -> Any:
    """Loads a model in safe mode, on the backend that ``KERAS_BACKEND`` names.

    Raises:
        UnsupportedModelError: a layer needs TensorFlow.
        ValueError: it is not a model that Keras loads in safe mode.
    """
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read(_CONFIG))
        layers = _layers_of_tensorflow(config)
        for layer in layers:
            _make_portable(layer)
        if not layers:
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        with tempfile.TemporaryDirectory(prefix="recsys-site-") as folder:
            copy = Path(folder) / "model.keras"
            with zipfile.ZipFile(copy, "w") as target:
                for name in archive.namelist():
                    content = json.dumps(config) if name == _CONFIG else archive.read(name)
                    target.writestr(name, content)
            return keras.saving.load_model(copy, compile=False, safe_mode=True)


def _layers_of_tensorflow(config: Any) -> list[dict[str, Any]]:
    """Returns the descriptions of the layers that need TensorFlow, of nested models too."""
    if isinstance(config, list):
        return [layer for part in config for layer in _layers_of_tensorflow(part)]
    if not isinstance(config, dict):
        return []
    if config.get("class_name") in _OF_TENSORFLOW:
        return [config]
    return _layers_of_tensorflow(list(config.values()))


def _make_portable(layer: dict[str, Any]) -> None:
    """Replaces a layer in the model's description by one that needs no TensorFlow."""
    kind, config = layer["class_name"], layer["config"]
    usual = config.get("num_oov_indices") == 1 and config.get("mask_token") is None
    if kind != "IntegerLookup" or not usual or config.get("output_mode") != "int":
        raise UnsupportedModelError(
            f"The model's layer {config.get('name')} ({kind}) needs TensorFlow, "
            "which this site does not have."
        )
    layer |= {
        "module": __name__,
        "class_name": IdLookup.__name__,
        "registered_name": f"{_PACKAGE}>{IdLookup.__name__}",
        "config": {"name": config["name"], "vocabulary": config["vocabulary"]},
    }
