"""Lenient reading of stored metrics: an invalid value becomes None instead of an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    model_serializer,
    model_validator,
)

LARGEST_NUMBER: Final = 1e12
"""No metric, count or size is larger. Differences of larger ones can overflow, e.g. in a chart."""


def finite_number(value: object) -> float | None:
    """Returns ``value`` if it is a number within `LARGEST_NUMBER` and not a bool, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= LARGEST_NUMBER else None  # NaN compares as False


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and finite_number(value) is not None else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _interval(value: object) -> tuple[float, float] | None:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    low, high = map(finite_number, value)
    return None if low is None or high is None or low > high else (low, high)


def shorten_value(value: object) -> str:
    """Returns at most 40 characters that show an invalid value in an error message."""
    try:
        return repr(value)[:40]
    except ValueError:  # Python refuses to print integers of more than 4300 digits
        return "a very large integer"


def none_if_invalid(value: object, handler: ValidatorFunctionWrapHandler) -> Any:
    """Returns the validated value, or None if it is invalid; for `pydantic.WrapValidator`."""
    try:
        return handler(value)
    except ValidationError:
        return None


Number = Annotated[float | None, BeforeValidator(finite_number)]
Count = Annotated[int | None, BeforeValidator(_count)]
Text = Annotated[str | None, BeforeValidator(_text)]
Interval = Annotated[tuple[float, float] | None, BeforeValidator(_interval)]
"""Ends of a confidence interval, in ascending order."""


class MetricsPart(BaseModel):
    """An object in the metrics; anything that is not an object is read as an empty one."""

    model_config = ConfigDict(frozen=True, extra="allow", serialize_by_alias=True)

    _must_be_object: ClassVar[bool] = False
    _invalid: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _read_leniently(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(value, MetricsPart):
            return handler(value)
        if not isinstance(value, Mapping) and cls._must_be_object:
            raise ValueError(f"found {shorten_value(value)}, expected a JSON object")
        fields = value if isinstance(value, Mapping) else {}
        part = handler(fields)
        for name, field in cls.model_fields.items():
            found = fields.get(field.alias or name)
            if found is not None and getattr(part, name) is None:
                part._invalid[field.alias or name] = shorten_value(found)
        return part

    @model_serializer(mode="wrap")
    def _leave_out_unset_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unset = {
            field.alias or name
            for name, field in type(self).model_fields.items()
            if name not in self.model_fields_set
        }
        return {name: value for name, value in handler(self).items() if name not in unset}

    def invalid_value(self, name: str) -> str | None:
        """Returns the text of the invalid value of a field; None if it is valid or missing."""
        return self._invalid.get(name)
