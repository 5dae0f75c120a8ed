"""A Job class that stands in for code that is none, so that a runner calls them all alike."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from jobserver.definition import Code
from jobserver.errors import DefinitionError
from jobserver.job import Job
from jobserver.scanner.handlers.handler import Handler
from jobserver.scanner.importing import imported
from jobserver.scanner.source_file import read_source
from jobserver.scanner.sources import JobFile

CATEGORY = "added"
"""Of files that no folder of jobs holds."""


def standing_in(handler: Handler, base: type[Job] = Job) -> type[Job]:
    """A class whose `run` is the handler's; what was not imported yet is imported by its first run on this server."""
    function = handler.function if handler.function is not None else _on_demand(handler)
    names = {"run": staticmethod(function), "__module__": base.__module__, "__doc__": base.__doc__}
    return type(base.__name__, (base,), names)


def _on_demand(handler: Handler) -> Callable[..., Any]:
    code = handler.code
    assert code is not None

    def plain(**given: Any) -> Any:
        return _function_of(code)(**given)

    async def awaited(**given: Any) -> Any:
        return await _function_of(code)(**given)

    return awaited if handler.is_async else plain


def _function_of(code: Code) -> Callable[..., Any]:
    if code.kind == "script":
        raise DefinitionError(path=code.path, message="is a script, which runs in a process only: execution 'process'")
    module = importlib.import_module(code.module) if code.module else _module_at(Path(code.path))
    found: Callable[..., Any] = getattr(module, code.name)
    return found


def _module_at(path: Path) -> ModuleType:
    """The file's module, imported once for every version of the file."""
    source = read_source(JobFile(path=path, category=CATEGORY))
    if source is None:
        raise DefinitionError(path=str(path), message="there is no such file any more")
    return sys.modules.get(source.module_name) or imported(source)
