"""`python -P -m jobserver.run_process SOCKET SERVER`: the process that imports a job's file and forks its runs.

The one module that puts together what such a process needs; how it works stands in `jobserver.execution.process`.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from jobserver.definition import Code
from jobserver.errors import DefinitionError
from jobserver.execution.handles import Handles
from jobserver.execution.process.child import NotLoaded, run_once
from jobserver.execution.process.orders import code_of
from jobserver.execution.process.wire import receive
from jobserver.execution.process.zygote import failure, serve
from jobserver.scanner.importing import imported
from jobserver.scanner.loading import load
from jobserver.scanner.rejection import FileRejected, traceback_from
from jobserver.scanner.source_file import SourceFile, read_source
from jobserver.scanner.sources import JobFile
from jobserver.store.wire import BsonCodec, extended_json

CODEC = BsonCodec()


def main() -> None:
    """Serve one server, until it is gone."""
    control, server = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    for descriptor in (control.fileno(), server):
        os.set_inheritable(descriptor, False)
    encoded = receive(control)
    if encoded is None:
        return
    order = CODEC.decode(encoded)
    _restore_environment(order["path"])
    loaded = _Loaded()

    def prepare() -> Mapping[str, Any]:
        _import_driver(order["driver"])
        return {} if order["code"] is None else loaded.take_in(code_of(order["code"]))

    def run(to_server: socket.socket) -> NoReturn:
        run_once(to_server, codec=CODEC, find=loaded.target, connect=database)

    serve(control, server, codec=CODEC, load=prepare, run=run)


def database(order: Mapping[str, Any]) -> Any:
    """The handle that suits the job, with a client of its own."""
    from jobserver.store.connection import async_client, sync_client

    uri, name = order["address"]["uri"], order["address"]["database"]
    if not order["is_async"]:
        return sync_client(uri, app_name="jobserver run")[name]
    if order["driver"] == "motor":
        from jobserver.runner.pulse.lending import motor_client

        return motor_client(uri, path=order["code"]["path"], class_name=order["code"]["name"])[name]
    return async_client(uri, app_name="jobserver run")[name]


class _Loaded:
    """The file that was imported before the fork, if there is one."""

    def __init__(self) -> None:
        self._module: ModuleType | None = None

    def take_in(self, code: Code) -> Mapping[str, Any]:
        """Import it; what to tell the server of it."""
        try:
            self._module = _module_of(code)
        except NotLoaded as error:
            return failure(str(error), error.trace)
        return {}

    def target(self, order: Mapping[str, Any]) -> Callable[[Handles], Any]:
        """What a run calls with its handles. Raises NotLoaded, and DefinitionError."""
        code, wants = code_of(order["code"]), tuple(order["wants"])
        if code.kind == "script":
            return lambda handles: _run_script(code, handles)
        module = self._module or _module_of(code)
        found = _named(module, code)
        if code.kind == "function":
            return lambda handles: found(**handles.arguments(wants))

        def call(handles: Handles) -> Any:
            job = found()
            job._handles = handles
            return job.run(**handles.arguments(wants))

        return call


def _module_of(code: Code) -> ModuleType:
    try:
        if code.module:
            return importlib.import_module(code.module)
        source = _source(code)
        return load(source).module if code.kind == "class" else imported(source)
    except FileRejected as rejected:
        problem = rejected.problems[0]
        raise NotLoaded(problem.message, problem.traceback) from rejected
    except Exception as error:
        where = code.path or code.module
        raise NotLoaded(f"{where} cannot be imported: {error}", traceback_from(error, where)) from error


def _source(code: Code) -> SourceFile:
    """The version that the job was defined with, where that is known."""
    file = JobFile(path=Path(code.path), category=code.category)
    if code.content is not None:
        return SourceFile(file=file, content=code.content, digest=sha256(code.content).hexdigest(), modified_ns=0)
    source = read_source(file)
    if source is None:
        raise DefinitionError(path=code.path, message="is gone")
    return source


def _named(module: ModuleType, code: Code) -> Any:
    found: Any = module
    for part in code.name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise DefinitionError(path=code.path or code.module, message=f"has no {code.name!r} any more")
    return found


def _run_script(code: Code, handles: Handles) -> None:
    """As `python FILE` would: it is `__main__`, and finds the modules beside it. Raises NotLoaded, and what it does.

    What a function asks for by name it finds in its environment, and so do the programs that it starts.
    """
    os.environ["JOBSERVER_RUN"] = handles.run.run_id
    os.environ["JOBSERVER_DATA"] = extended_json(handles.data)
    source = _source(code)
    try:
        program = compile(source.content, source.path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise NotLoaded(f"{source.path} is no Python: {error}", traceback_from(error, source.path)) from error
    module = ModuleType("__main__")
    module.__file__ = source.path
    sys.modules["__main__"] = module
    sys.argv = [source.path]
    sys.path.insert(0, str(source.file.path.parent))
    exec(program, vars(module))  # noqa: S102 - running the author's file is what a script job means


def _import_driver(driver: str | None) -> None:
    if driver is not None:
        importlib.import_module("jobserver.store.connection")
    if driver == "motor":
        try:
            importlib.import_module("motor.motor_asyncio")
        except ImportError:  # said when a run asks for it
            return


def _restore_environment(path: str | None) -> None:
    """The import path was the server's; programs that a run starts get what the server has in its environment."""
    os.environ.pop("PYTHONPATH", None)
    if path is not None:
        os.environ["PYTHONPATH"] = path


if __name__ == "__main__":
    main()
