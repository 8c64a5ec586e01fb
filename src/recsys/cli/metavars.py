"""Names of the values of options in a command's help, as command lines commonly have them."""

from __future__ import annotations

from typing import Any, Final

from typer.core import TyperCommand

# Typer shows Python's types, such as <str>, and <bool> for a flag, which takes no value.
_NAMES: Final = (
    ("bool", ""),
    ("file", "FILE"),
    ("dir", "DIR"),
    ("path", "PATH"),
    ("int", "N"),
    ("float", "N"),
    ("str", "TEXT"),
    ("text", "TEXT"),
)


def name_values(parameters: list[Any]) -> list[Any]:
    """Names the values of the parameters that have no name of their own; returns the parameters."""
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            if parameter.metavar is None:
                parameter.metavar = parameter.name.upper()
            if not _choices(parameter):
                # Beside its name, Typer shows an argument's type: <str> or <list[str]>.
                parameter.display_type_rich = _no_type
            continue
        if parameter.metavar is None:
            parameter.metavar = _name(parameter)
    return parameters


def _name(parameter: Any) -> str | None:
    if parameter.is_flag:
        return ""
    if choices := _choices(parameter):
        return "|".join(str(getattr(choice, "value", choice)) for choice in choices)
    shown = str(parameter.display_type(None)).strip("<>[]")
    for python, name in _NAMES:
        if shown.startswith(python) or shown.endswith(f"[{python}"):
            return name
    return None


def _choices(parameter: Any) -> Any:
    return getattr(parameter.type_descriptor, "choices", None)


def _no_type(ctx: Any) -> None:
    """Stands for a parameter's method that describes its type for the help."""


class NamedValues(TyperCommand):
    """A command whose help names the values of its options."""

    def get_params(self, ctx: Any) -> Any:
        """Returns the parameters, also --help."""
        return name_values(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Returns the parts of the usage line, without Typer's braces around arguments."""
        return [
            piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)
        ]
