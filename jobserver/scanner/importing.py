"""Imports one version of a job file, under a module name that no other version has."""

from __future__ import annotations

import importlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

from jobserver.scanner.source_file import SourceFile


def imported(source: SourceFile) -> ModuleType:
    """Run the file, whatever it defines; what it raises passes through, and leaves no trace in sys.modules."""
    module = _registered_module(source)
    try:
        # Bytes, not text: Python itself reads the encoding line. No bytecode is cached, so no stale one can be met.
        code = compile(source.content, source.path, "exec", dont_inherit=True)
        exec(code, vars(module))  # noqa: S102 - running the author's file is what loading means
    except BaseException:
        forget(module)
        raise
    return module


def forget(module: ModuleType) -> None:
    """Take it out of sys.modules, unless another has come in its place."""
    if sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]


def _registered_module(source: SourceFile) -> ModuleType:
    importlib.invalidate_caches()  # a module that it imports may be younger than the last look into its folder
    name = source.module_name
    _register_parents(name)
    spec = spec_from_file_location(name, source.path)
    if spec is None:
        raise ImportError(f"{source.path} is not a Python file")
    module = sys.modules[name] = module_from_spec(spec)
    return module


def _register_parents(name: str) -> None:
    # pickle imports the first part of a dotted name, so each part must be there.
    for parent in (name.partition(".")[0], name.rpartition(".")[0]):
        if parent not in sys.modules:
            package = ModuleType(parent)
            package.__path__ = []
            sys.modules[parent] = package
