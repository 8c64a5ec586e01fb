"""Checks that the site's Keras can load what the trainer's Keras saves."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from recsys import contract
from recsys.errors import ConfigurationError


def check_site_keras(environ: Mapping[str, str]) -> None:
    """Refuses to train if the site could not load the model.

    Keras loads models of older versions, but not of newer ones: 3.12 does not accept arguments
    that 3.15 saves for IntegerLookup. Patch releases are considered equal.

    Raises:
        ConfigurationError: the site's Keras is older than this one, or its version is invalid.
    """
    site, own = environ.get(contract.ENV_SITE_KERAS), version("keras")
    if not site:
        return
    try:
        older = _release(site) < _release(own)
    except ValueError as error:
        raise ConfigurationError(
            f"{contract.ENV_SITE_KERAS} is not a version of Keras",
            found=site,
            expected="e.g. 3.15.0",
        ) from error
    if older:
        raise ConfigurationError(
            "the site's Keras is older than the trainer's and may not load the model",
            found=f"Keras {site} on the site, {own} in the trainer",
            expected="a trainer's Keras that is not newer than the site's",
            hint=f"update the site first, or lock keras=={site} in trainer/pyproject.toml",
        )


def _release(text: str) -> tuple[int, int]:
    major, minor, *_ = text.split(".")
    return int(major), int(minor)
