"""Imports one version of a job file, under a module name that no other version has."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

from jobserver.definition import JobDefinition
from jobserver.scanner.rejection import FileRejected, import_failure
from jobserver.scanner.source_file import SourceFile
from jobserver.scanner.validation import definitions_of


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedFile:
    """A file that is in force. Its module stays in sys.modules (pickle and dataclasses look there) until `unload`."""

    path: str
    digest: str
    module: ModuleType
    definitions: tuple[JobDefinition, ...]

    def unload(self) -> None:
        """Take the module out of sys.modules; classes that still run keep working, for they hold what they use."""
        _unregister(self.module)


def load(source: SourceFile) -> LoadedFile:
    """Run the file and validate its jobs; FileRejected carries what is wrong, and leaves no trace in sys.modules."""
    try:
        module = imported(source)
        try:
            definitions = definitions_of(module, source)
        except BaseException:
            _unregister(module)
            raise
    except BaseException as error:
        if isinstance(error, FileRejected | KeyboardInterrupt):
            raise
        raise FileRejected([import_failure(source.path, error)]) from error
    return LoadedFile(path=source.path, digest=source.digest, module=module, definitions=definitions)


def imported(source: SourceFile) -> ModuleType:
    """Run the file, whatever it defines; what it raises passes through, and leaves no trace in sys.modules."""
    module = _registered_module(source)
    try:
        # Bytes, not text: Python itself reads the encoding line. No bytecode is cached, so no stale one can be met.
        code = compile(source.content, source.path, "exec", dont_inherit=True)
        exec(code, vars(module))  # noqa: S102 - running the author's file is what loading means
    except BaseException:
        _unregister(module)
        raise
    return module


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


def _unregister(module: ModuleType) -> None:
    if sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]
