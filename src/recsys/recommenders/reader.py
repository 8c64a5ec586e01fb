"""Reads descriptions; an error names the file, the line, the field, and what was expected."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from recsys.contract import BuildSettings
from recsys.errors import ConfigurationError, first_invalid_field
from recsys.recommenders.description import Description
from recsys.recommenders.namespace import FIRST_RECOMMENDER

ENV_FOLDER: Final = "RECSYS_RECOMMENDERS"
_SUFFIX: Final = ".yaml"
_MAX_BYTES: Final = 65_536
_HINT: Final = "docs/recommenders.md lists the fields; recommenders/schema.json is for editors"
_Loc = tuple[int | str, ...]


@dataclass(frozen=True)
class Descriptions:
    """What a folder contains.

    Attributes:
        valid: the recommenders by name.
        errors: why other files describe none, by path.
    """

    valid: dict[str, Description]
    errors: dict[Path, ConfigurationError]


def folder() -> Path | None:
    """Returns the folder of the descriptions, ``RECSYS_RECOMMENDERS``; None if it is not set."""
    name = os.environ.get(ENV_FOLDER)
    return Path(name) if name else None


def read_descriptions(path: Path | None) -> Descriptions:
    """Reads all descriptions in a folder. An invalid one leaves the others as they are.

    Args:
        path: the folder; None, or a folder that does not exist: there is the first recommender,
            as before there were descriptions.
    """
    if path is None or not path.is_dir():
        first = Description(name=FIRST_RECOMMENDER, title="Movie recommender")
        return Descriptions({first.name: first}, {})
    valid: dict[str, Description] = {}
    errors: dict[Path, ConfigurationError] = {}
    for file in sorted(path.glob(f"*{_SUFFIX}")):
        try:
            description = read_description(file)
        except ConfigurationError as error:
            errors[file] = error
        else:
            valid[description.name] = description
    return Descriptions(valid, errors)


def read_description(file: Path) -> Description:
    """Reads one description.

    Raises:
        ConfigurationError: the file cannot be read, or is invalid.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise _invalid(file, None, "a larger file", f"at most {_MAX_BYTES} bytes")
        root = yaml.compose(content.decode(), Loader=yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            raise _invalid(file, None, "no mapping", "name: value")
        _check_nodes(file, root)
        document = yaml.SafeLoader("").construct_document(root)
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(file, None, str(error), "a text file in UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "no YAML"
        line = mark.line + 1 if mark else None
        raise _invalid(file, line, str(problem), "YAML") from error
    try:
        description = Description.model_validate(document)
    except ValidationError as error:
        invalid = first_invalid_field(error)
        loc = error.errors(include_url=False)[0]["loc"]
        found = "" if isinstance(invalid.value, dict) else f"{invalid.value!r}"
        raise _invalid(
            file, _line(root, loc), f"{invalid.name} {found}".strip(), invalid.message
        ) from error
    if file.stem != description.name:
        raise _invalid(file, _line(root, ("name",)), f"name {description.name}", file.stem)
    return description


def template(name: str, title: str, source: str) -> str:
    """Returns the text of a new description.

    Raises:
        ConfigurationError: a value is invalid.
    """
    values = {"name": name, "title": title, "source": source.split()}
    try:
        Description.model_validate(values)
    except ValidationError as error:
        invalid = first_invalid_field(error)
        raise ConfigurationError(
            "this is no description of a recommender",
            found=f"{invalid.name} {invalid.value!r}",
            expected=invalid.message,
            hint=_HINT,
        ) from error
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    return f"# yaml-language-server: $schema=schema.json\n{text}"


def build_text(description: Description | None, settings: BuildSettings) -> str:
    """Returns settings of a build as a person writes them down where a run reads them.

    Args:
        description: the recommender; None: it has none.
        settings: settings of its build.

    Returns:
        The field ``build`` of its description, as YAML; ``RECSYS_BUILD_SETTINGS=...`` for the first
        recommender, unless its description has this field, which comes before the variable.
    """
    values = settings.model_dump(mode="json", exclude_defaults=True)
    first = description is None or description.namespace.is_first
    if first and (description is None or description.build is None):
        return f"RECSYS_BUILD_SETTINGS={shlex.quote(json.dumps(values))}"
    return str(yaml.safe_dump({"build": values}, sort_keys=False, allow_unicode=True)).rstrip()


def description_schema() -> dict[str, Any]:
    """Returns the JSON schema of a description, for editors."""
    schema = Description.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _check_nodes(file: Path, root: yaml.Node) -> None:
    """Refuses what YAML would replace silently: a repeated key, and a node that is repeated."""
    seen: set[int] = set()
    for node in _nodes(root):
        line = node.start_mark.line + 1
        if id(node) in seen:
            raise _invalid(file, line, "an alias", "each value written where it belongs")
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(keys) != len(node.value):
                raise _invalid(file, line, "a key that is no text", "name: value")
            for key in keys:
                if keys.count(key) > 1:
                    raise _invalid(file, line, f"{key} more than once", "each field once")


def _nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += [one for pair in node.value for one in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _line(root: yaml.Node, loc: _Loc) -> int:
    """Returns the line of a field, or that of the nearest one around it."""
    node, line = root, root.start_mark.line
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part >= len(node.value):
                break
            node = node.value[part]
            line = node.start_mark.line
    return int(line) + 1


def _invalid(file: Path, line: int | None, found: str, expected: str) -> ConfigurationError:
    place = f"{file}, line {line}" if line else str(file)
    return ConfigurationError(
        f"the description of a recommender is invalid: {place}",
        found=found,
        expected=expected,
        hint=_HINT,
    )
