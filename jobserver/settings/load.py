"""The layers together: config.yaml < environment < flags."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jobserver.errors import SettingsError
from jobserver.excerpt import excerpt
from jobserver.settings.config_file import CONFIG_FILE, ConfigFile
from jobserver.settings.layers import Layer, environment_layer, mapping_layer, nested
from jobserver.settings.models import Settings

Source = Settings | Mapping[str, Any] | str | Path | None


def load_settings(
    source: Source = None, *, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Settings from a mapping, a config file or its directory; None is the current directory, with or without one.

    Ready settings stand above the environment; `flags`, shaped like config.yaml too, stand above everything.
    `environ` is this process's where none is given. Raises SettingsError that names the setting and where it stands.
    """
    if isinstance(source, Settings) and not flags:
        return source
    layer, root = _first_layer(source)
    if not isinstance(source, Settings):
        layer |= environment_layer(os.environ if environ is None else environ)
    layer |= mapping_layer(flags or {}, lambda _: "flag")
    settings = _validated(layer)
    return _rooted(settings, root)


def _first_layer(source: Source) -> tuple[Layer, Path]:
    if isinstance(source, Settings):
        return mapping_layer(source.model_dump(), lambda _: ""), source.project.root
    if isinstance(source, Mapping):
        return mapping_layer(source, lambda _: ""), Path.cwd()
    if source is not None and not isinstance(source, str | Path):
        raise SettingsError("", f"{excerpt(source)} is no settings: give a mapping, a path, or Settings")
    path = Path.cwd() if source is None else Path(source).absolute()
    if path.is_dir():
        if not (path / CONFIG_FILE).exists():
            return {}, path
        path = path / CONFIG_FILE
    file = ConfigFile(path)
    return mapping_layer(file.values, file.where), path.parent


def _validated(layer: Layer) -> Settings:
    try:
        return Settings.model_validate(nested(layer))
    except ValidationError as error:
        raise _settings_error(error, layer) from None


def _settings_error(error: ValidationError, layer: Layer) -> SettingsError:
    """The first mistake names the field, the others follow on lines of their own."""
    mistakes = []
    for details in error.errors(include_url=False, include_input=False):
        path = tuple(str(part) for part in details["loc"])
        given = layer.get(path)
        origin = f" ({given.origin})" if given and given.origin else ""
        message = details["msg"].removeprefix("Value error, ")
        mistakes.append((".".join(path), f"{message}{origin}"))
    (field, message), *others = mistakes
    return SettingsError(field, "\n".join([message, *(f"{name}: {text}" for name, text in others)]))


def _rooted(settings: Settings, root: Path) -> Settings:
    """`project.root` made absolute: relative to the config file, which is also where it is when nobody says."""
    given = settings.project.root if "root" in settings.project.model_fields_set else Path()
    project = settings.project.model_copy(update={"root": (root / given).absolute()})
    return settings.model_copy(update={"project": project})
