"""A path or a dotted name → what is there. Read with `ast`, for what runs in a process is never imported here."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from jobserver.definition import Code
from jobserver.errors import DefinitionError, did_you_mean
from jobserver.scanner.checksum import checksum
from jobserver.scanner.handlers.handler import Handler
from jobserver.scanner.handlers.standing_in import CATEGORY
from jobserver.scanner.rejection import import_failure
from jobserver.scanner.run_signature import check_parameters, parameters_of
from jobserver.scanner.source_file import read_source
from jobserver.scanner.sources import JobFile

RUN = "run"

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_reference(job: object) -> bool:
    """Whether this is a path or a dotted name, not the code itself."""
    return isinstance(job, str | Path)


def stored_reference(job: str | Path) -> dict[str, str]:
    """The reference as a document holds it, from which any server finds the code. Raises DefinitionError.

    A relative path is one of this process's folder.
    """
    if _is_dotted(job):
        module, name = _dotted(str(job))
        return {"kind": "function", "module": module, "name": name}
    _require_py(job)
    return {"kind": "file", "path": str(Path(job).absolute())}


def stored_as_text(handler: Mapping[str, Any]) -> str:
    """The reference that `stored_reference` has stored."""
    return f"{handler['module']}:{handler['name']}" if handler.get("kind") == "function" else str(handler["path"])


def read_reference(job: str | Path, *, folder: Path | None = None) -> Handler:
    """What a path, or "package.module:function", leads to; relative paths begin in `folder`. Raises DefinitionError.

    A file with a Job class is one of kind class, whose details only its import can tell; one with a function `run` is
    that function; any other is a script.
    """
    if _is_dotted(job):
        return _read_dotted(*_dotted(str(job)))
    _require_py(job)
    return _read_file((folder or Path.cwd()) / job)


def _is_dotted(job: str | Path) -> bool:
    return isinstance(job, str) and ":" in job and not job.endswith(".py") and "/" not in job and "\\" not in job


def _dotted(job: str) -> tuple[str, str]:
    module, _, name = job.partition(":")
    if not all(part.isidentifier() for part in module.split(".")) or not name.isidentifier():
        raise DefinitionError(path=job, message="is not of the form 'package.module:function'")
    return module, name


def _require_py(job: str | Path) -> None:
    if "\0" in str(job):
        raise DefinitionError(path=repr(str(job)), message="is no path: it holds a NUL")
    if not str(job).endswith(".py"):
        raise DefinitionError(
            path=str(job), message="is neither a path to a .py file nor of the form 'package.module:function'"
        )


def _read_dotted(module: str, name: str) -> Handler:
    path = _file_of(module)
    tree, _ = _parsed(path)
    functions = _functions(tree)
    if name not in functions:
        known = ", ".join(functions) or "none"
        hint = did_you_mean(name, functions)
        raise DefinitionError(
            path=str(path), message=f"defines no function {name!r} at its top level{hint}; it has {known}"
        )
    return _function(functions[name], tree, path, Code(kind="function", path=str(path), name=name, module=module))


def _read_file(path: Path) -> Handler:
    tree, content = _parsed(path)
    functions = _functions(tree)
    where: dict[str, Any] = {"path": str(path.resolve()), "category": CATEGORY}
    if _defines_job(tree):
        return _handler(tree, path, Code(kind="class", content=content, **where))
    if RUN in functions:
        return _function(functions[RUN], tree, path, Code(kind="function", name=RUN, **where))
    return _handler(tree, path, Code(kind="script", **where))


def _parsed(path: Path) -> tuple[ast.Module, bytes]:
    source = read_source(JobFile(path=path, category=CATEGORY))
    if source is None:
        raise DefinitionError(path=str(path), message="there is no such file")
    try:
        return ast.parse(source.content, str(path)), source.content
    except (SyntaxError, ValueError) as error:
        raise DefinitionError(
            path=str(path), message=import_failure(str(path), error).message.removeprefix(f"{path}: ")
        ) from error


def _file_of(module: str) -> Path:
    """Where an import of `module` would read it, without the import."""
    folders: Iterable[str] | None = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        spec = PathFinder.find_spec(name, None if folders is None else list(folders))
        if spec is None:
            raise DefinitionError(
                path=module, message=f"there is no module {name!r} on the path of this server ({len(sys.path)} folders)"
            )
        folders = spec.submodule_search_locations or ()
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise DefinitionError(path=module, message="has no Python source, so there is no function to be found in it")
    return Path(spec.origin)


def _functions(tree: ast.Module) -> dict[str, _Function]:
    return {node.name: node for node in tree.body if isinstance(node, _Function)}


def _function(node: _Function, tree: ast.Module, path: Path, code: Code) -> Handler:
    if any(isinstance(each, ast.Yield | ast.YieldFrom) for each in _own_nodes(node)):
        raise DefinitionError(path=str(path), message=f"`{node.name}` must not yield: return the result")
    parameters = parameters_of(node.args)
    try:
        check_parameters(parameters, called=node.name)
    except ValueError as error:
        raise DefinitionError(path=str(path), message=str(error)) from error
    wants = tuple(each.name for each in parameters)
    return _handler(tree, path, code, is_async=isinstance(node, ast.AsyncFunctionDef), wants=wants)


def _handler(tree: ast.Module, path: Path, code: Code, **how: Any) -> Handler:
    return Handler(path=str(path), checksum=checksum(tree), stem=path.stem, code=code, **how)


def _own_nodes(function: _Function) -> Iterator[ast.AST]:
    """Without the functions inside it, whose `yield` is their own."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def _defines_job(tree: ast.Module) -> bool:
    """A class that extends Job, by whatever name it was imported, or that has bases and a `run`."""
    jobs = {"Job"}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            jobs.update(each.asname for each in node.names if each.name == "Job" and each.asname)
    return any(_is_job(node, jobs) for node in tree.body if isinstance(node, ast.ClassDef))


def _is_job(node: ast.ClassDef, jobs: set[str]) -> bool:
    bases = {base.id if isinstance(base, ast.Name) else getattr(base, "attr", "") for base in node.bases}
    has_run = any(isinstance(each, _Function) and each.name == RUN for each in node.body)
    return bool(bases & jobs) or (bool(bases) and has_run)
