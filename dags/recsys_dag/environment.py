"""Settings that are read from the environment of Airflow's processes; nonsense is named."""

from __future__ import annotations

import os
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, SettingsError

from recsys.errors import ConfigurationError, first_invalid_field

Model = TypeVar("Model", bound=BaseModel)


def read(
    settings: type[BaseSettings], hint: str = "docs/deployment.md lists the settings of the trainer"
) -> Any:
    """Makes settings of the variables that begin with their prefix.

    Args:
        settings: which.
        hint: where they are listed.

    Raises:
        ConfigurationError: a variable makes no sense; it is named.
    """
    prefix = settings.model_config.get("env_prefix", "")
    try:
        return settings()
    except SettingsError as error:
        field = re.search(r'field "(\w+)"', str(error))
        raise ConfigurationError(
            f"{prefix}{field[1].upper() if field else '*'} is invalid",
            found="text that is not JSON",
            hint=hint,
        ) from error
    except ValidationError as error:
        invalid = first_invalid_field(error)
        raise ConfigurationError(
            f"{prefix}{invalid.name.upper()} is invalid", found=invalid.message, hint=hint
        ) from error


def read_json(model: type[Model], variable: str, expected: str) -> Model:
    """Makes a model of the JSON document in one variable; unset or empty: of its defaults.

    Args:
        model: which.
        variable: its name.
        expected: what the document should be, in words.

    Raises:
        ConfigurationError: it is no such document; what is wrong with it is told.
    """
    try:
        return model.model_validate_json(os.environ.get(variable) or "{}")
    except ValidationError as error:
        raise ConfigurationError(
            f"{variable} is invalid", found=str(first_invalid_field(error)), expected=expected
        ) from error
