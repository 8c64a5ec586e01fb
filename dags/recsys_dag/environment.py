"""Reads settings from environment variables; an invalid value raises an error with its name."""

from __future__ import annotations

import os
import re
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, SettingsError

from recsys.errors import ConfigurationError, first_invalid_field

Model = TypeVar("Model", bound=BaseModel)
Settings = TypeVar("Settings", bound=BaseSettings)


def read(
    settings: type[Settings], hint: str = "docs/deployment.md lists the settings of the trainer"
) -> Settings:
    """Makes settings from the variables that begin with their prefix.

    Args:
        settings: the class of the settings.
        hint: where the variables are documented.

    Raises:
        ConfigurationError: a variable has an invalid value; the message names it.
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
    """Makes a model from the JSON document in one variable; the defaults if it is unset or empty.

    Args:
        model: the class of the model.
        variable: name of the variable.
        expected: description of the document, for the error.

    Raises:
        ConfigurationError: the document is invalid; the message names the first invalid field.
    """
    try:
        return model.model_validate_json(os.environ.get(variable) or "{}")
    except ValidationError as error:
        raise ConfigurationError(
            f"{variable} is invalid", found=str(first_invalid_field(error)), expected=expected
        ) from error
