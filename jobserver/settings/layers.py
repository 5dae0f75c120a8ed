"""One source of settings after another: mappings, environment, flags. Every value keeps where it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobserver.errors import SettingsError, did_you_mean
from jobserver.excerpt import excerpt
from jobserver.settings.models import Section, Settings, section_of

Keys = tuple[str, ...]
Where = Callable[[Keys], str]

PREFIX = "JOBSERVER_"
DELIMITER = "__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One value as somebody wrote it, and where: `config.yaml, line 7`, or the name of a variable."""

    value: Any
    origin: str


Layer = dict[Keys, Given]


def mapping_layer(source: Mapping[Any, Any], where: Where) -> Layer:
    """Every value of a mapping shaped like config.yaml; `where` gets the path as it was written.

    Keys may be snake_case or camelCase. Null counts as not given. Raises SettingsError for unknown keys.
    """
    layer: Layer = {}
    for path, written, value in _leaves(source, Settings, (), (), where):
        if path in layer:
            raise SettingsError(".".join(path), f"given twice, as {written[-1]!r} too{_at(where(written))}")
        layer[path] = Given(value=value, origin=where(written))
    return layer


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """Every `JOBSERVER_A__B` variable; an empty one counts as not set. Raises SettingsError for unknown ones."""
    layer: Layer = {}
    for variable, value in environ.items():
        if variable.startswith(PREFIX) and DELIMITER in variable and value:
            path = tuple(variable.removeprefix(PREFIX).lower().split(DELIMITER))
            _check_path(path, variable)
            layer[path] = Given(value=value, origin=variable)
    return layer


def nested(layer: Layer) -> dict[str, Any]:
    """The layer as one mapping shaped like config.yaml."""
    result: dict[str, Any] = {}
    for path, given in layer.items():
        section = result
        for key in path[:-1]:
            section = section.setdefault(key, {})
        section[path[-1]] = given.value
    return result


def _leaves(
    source: object, model: type[Section], path: Keys, written: Keys, where: Where
) -> Iterator[tuple[Keys, Keys, Any]]:
    if not isinstance(source, Mapping):
        name = ".".join(path) or "the settings"
        raise SettingsError(".".join(path), f"{excerpt(source)} given, but {name} is a mapping{_at(where(written))}")
    for key, value in source.items():
        here = (*written, str(key))
        name = _known_key(key, model, path, _at(where(here)))
        if value is None:
            continue
        inner = section_of(model, name)
        if inner is None:
            yield (*path, name), here, value
        else:
            yield from _leaves(value, inner, (*path, name), here, where)


def _check_path(path: Keys, origin: str) -> None:
    model: type[Section] | None = Settings
    for depth, key in enumerate(path):
        if model is None:
            raise SettingsError(
                ".".join(path), f"{'.'.join(path[:depth])} is a value, nothing is below it{_at(origin)}"
            )
        model = section_of(model, _known_key(key, model, path[:depth], _at(origin)))
    if model is not None:
        raise SettingsError(".".join(path), f"is a section; set one of {', '.join(model.model_fields)}{_at(origin)}")


def _known_key(key: object, model: type[Section], path: Keys, at: str) -> str:
    names = {spelling: name for name in model.model_fields for spelling in (name, _camel(name))}
    if isinstance(key, str) and key in names:
        return names[key]
    guess = did_you_mean(key[:60], names) if isinstance(key, str) else ""
    known = ", ".join(model.model_fields)
    raise SettingsError(".".join(path), f"unknown key {excerpt(key)}{guess}; known keys: {known}{at}")


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _at(origin: str) -> str:
    return f" ({origin})" if origin else ""
