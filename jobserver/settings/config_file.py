"""Reading config.yaml: its values, and the line on which each key stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from jobserver.errors import SettingsError

CONFIG_FILE = "config.yaml"


class ConfigFile:
    """One config.yaml, read once. Raises SettingsError that names file and line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = _read(path)
        try:
            self._root = yaml.compose(text, Loader=yaml.SafeLoader)
            self._check_twice()
            values = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            raise SettingsError("", f"{path}{_line(error.problem_mark)}: {_problem(error)}") from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise SettingsError("", f"{path}: is not YAML that can be read: {error}") from None
        if values is not None and not isinstance(values, Mapping):
            raise SettingsError("", f"{path}: holds no settings; it begins with a key such as 'mongodb:'")
        self.values: Mapping[Any, Any] = values or {}

    def where(self, written: tuple[str, ...]) -> str:
        """`config.yaml, line 7` for a path of keys as they stand in the file."""
        node, mark = self._root, None
        for key in written:
            entries = node.value if isinstance(node, yaml.MappingNode) else ()
            found = [(name, value) for name, value in entries if getattr(name, "value", None) == key]
            if not found:
                break
            mark, node = found[-1][0].start_mark, found[-1][1]
        return f"{self.path}{_line(mark)}"

    def _check_twice(self) -> None:
        # YAML readers take the last of two equal keys without a word.
        waiting: list[tuple[tuple[str, ...], yaml.Node | None]] = [((), self._root)]
        while waiting:
            path, node = waiting.pop()
            seen = set()
            for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
                name = str(key.value)
                if name in seen:
                    raise SettingsError(".".join((*path, name)), f"given twice ({self.path}{_line(key.start_mark)})")
                seen.add(name)
                if len(path) < 4:  # deeper than any setting; an alias to its own parent would never end
                    waiting.append(((*path, name), value))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError("", f"{path} does not exist; `jobserver init` writes one") from None
    except OSError as error:
        raise SettingsError("", f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise SettingsError("", f"{path} is not UTF-8 text") from None


def _line(mark: Any) -> str:
    return f", line {mark.line + 1}" if mark else ""


def _problem(error: yaml.MarkedYAMLError) -> str:
    context = f"{error.context}: " if error.context else ""
    return f"{context}{error.problem or 'is not YAML that can be read'}"
