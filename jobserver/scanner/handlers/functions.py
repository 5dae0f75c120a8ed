"""A function object → a handler, and where a fresh process would find it."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable
from hashlib import sha256
from textwrap import dedent
from typing import Any

from jobserver.definition import Code
from jobserver.errors import DefinitionError
from jobserver.scanner.checksum import checksum
from jobserver.scanner.handlers.handler import Handler
from jobserver.scanner.handlers.standing_in import CATEGORY
from jobserver.scanner.run_signature import check_parameters
from jobserver.scanner.source_file import MODULE_ROOT

_INLINE = "or run it on this server, with offloaded=False"


def read_function(function: Callable[..., Any], *, offloaded: bool) -> Handler:
    """How to call it; one that is `offloaded` must be at the top level of a module. Raises DefinitionError."""
    called = getattr(function, "__name__", type(function).__name__)
    if inspect.isclass(function):
        raise DefinitionError(path=called, message="is a class: put it into jobs/, or give the path of its file")
    path = _path_of(function) or called
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(path=path, message=f"`{called}` must not yield: return the result")
    try:
        parameters = list(inspect.signature(function).parameters.values())
        check_parameters(parameters, called=called)
    except (ValueError, TypeError) as error:
        raise DefinitionError(path=path, message=str(error)) from error
    return Handler(
        path=path,
        checksum=_checksum(function),
        is_async=inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__),
        wants=tuple(each.name for each in parameters),
        code=_importable(function, path) if offloaded else None,
        function=function,
    )


def _importable(function: Callable[..., Any], path: str) -> Code:
    """Where a process that shares nothing with this one finds it."""
    name, module = getattr(function, "__qualname__", ""), getattr(function, "__module__", None) or ""
    if inspect.ismethod(function):
        raise _refused(path, f"`{name}` is a method of an object, and no other process has that object", module)
    if not inspect.isfunction(function):
        raise _refused(path, f"{type(function).__name__} is no plain function", module)
    if "<lambda>" in name:
        raise _refused(path, "a lambda has no name by which another process could find it", module)
    if "." in name:
        raise _refused(path, f"`{name}` is defined inside something else, where another process cannot find it", module)
    found = vars(sys.modules.get(module, object)).get(name)
    if found is not function:
        raise _refused(path, f"`{name}` of module {module!r} is not this function", module)
    if module == "__main__" or module.partition(".")[0] == MODULE_ROOT:
        return Code(kind="function", path=_file(path, name, module), name=name, category=CATEGORY)
    return Code(kind="function", path=path, name=name, module=module)


def _file(path: str, name: str, module: str) -> str:
    if not path.endswith(".py"):
        raise _refused(path, f"`{name}` was typed in, so there is no file from which another process could load it", "")
    return path


def _refused(path: str, why: str, module: str) -> DefinitionError:
    where = f" of {module}" if module else ""
    return DefinitionError(path=path, message=f"{why}: define it with `def` at the top level{where}, {_INLINE}")


def _path_of(function: Callable[..., Any]) -> str | None:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return None if code is None else str(code.co_filename)


def _checksum(function: Callable[..., Any]) -> str:
    """Of its source; of its instructions where that cannot be read by itself, as with a lambda inside a call."""
    try:
        return checksum(ast.parse(dedent(inspect.getsource(function))))
    except (OSError, TypeError, SyntaxError, ValueError):
        code = getattr(function, "__code__", None)
        return sha256(code.co_code if code is not None else repr(type(function)).encode()).hexdigest()
