"""From the classes of a loaded file to job definitions, or to every reason why there are none."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from jobserver.definition import Code, Execution, JobDefinition, ScanProblem
from jobserver.errors import ConfigError, DefinitionError, did_you_mean
from jobserver.job import Job
from jobserver.scanner.checksum import checksum
from jobserver.scanner.class_defaults import class_defaults, class_driver, class_limits, class_start_method
from jobserver.scanner.handlers.handler import Handler
from jobserver.scanner.handlers.references import read_reference
from jobserver.scanner.handlers.standing_in import standing_in
from jobserver.scanner.job_classes import has_run, has_schedule, job_classes, job_name
from jobserver.scanner.rejection import FileRejected, traceback_from
from jobserver.scanner.run_signature import RunSignature, run_signature
from jobserver.scanner.source_file import SourceFile


def definitions_of(module: ModuleType, source: SourceFile) -> tuple[JobDefinition, ...]:
    """Every job that the file defines; FileRejected carries one problem per faulty class."""
    classes = job_classes(module)
    if not classes:
        raise _no_job(source)
    tree = ast.parse(source.content, source.path)
    found: list[JobDefinition] = []
    problems: list[ScanProblem] = []
    for cls in classes:
        try:
            found.append(define(cls, source, tree, others=[other for other in classes if other is not cls]))
        except DefinitionError as error:
            problems.append(_problem(error, source, name=_name_if_any(cls, source, alone=len(classes) == 1)))
    problems.extend(_name_clashes(found, source))
    if problems:
        raise FileRejected(problems)
    return tuple(found)


def define(cls: type[Job], source: SourceFile, tree: ast.Module, *, others: Sequence[type[Job]] = ()) -> JobDefinition:
    """The definition of one class of a file; `others` are the further jobs of the file. Raises DefinitionError."""
    _require_parts(cls, source)
    name = job_name(cls, source.file, alone=not others)
    referred = _referred(cls, source)
    job_class = cls if referred is None else standing_in(referred, cls)
    job = _instance(job_class, source)
    try:
        signature = run_signature(job) if referred is None else _signature_of(referred)
        driver = class_driver(job, is_async=signature.is_async)
        defaults = class_defaults(job, is_async=signature.is_async)
        limits, start_method = class_limits(job), class_start_method(job)
    except (ConfigError, ValueError) as error:
        raise _refused(cls, source, str(error)) from error
    except Exception as error:
        raise _refused(cls, source, f"its defaults cannot be read: {type(error).__name__}: {error}") from error
    if referred is not None and defaults.execution is None:
        defaults = replace(defaults, execution=Execution.PROCESS)
    return JobDefinition(
        name=name,
        path=source.path,
        checksum=checksum(tree, without={other.__name__ for other in others if not issubclass(cls, other)}),
        job_class=job_class,
        is_async=signature.is_async,
        wants=signature.wants,
        defaults=defaults,
        driver=driver,
        limits=limits,
        start_method=start_method,
        code=_code(cls, source) if referred is None else referred.code,
    )


def _code(cls: type[Job], source: SourceFile) -> Code:
    return Code(
        kind="class",
        path=source.path,
        name=cls.__qualname__,
        category=source.file.category,
        content=source.content,
    )


def _referred(cls: type[Job], source: SourceFile) -> Handler | None:
    """What `run = "scripts/report.py"` leads to, from the job file's own folder; None where `run` is code itself."""
    run = getattr(cls, "run", None)
    if not isinstance(run, str | Path):
        return None
    try:
        handler = read_reference(run, folder=source.file.path.parent)
    except DefinitionError as error:
        raise _refused(cls, source, f"run = {str(run)!r}: {error}") from error
    if handler.code is not None and handler.code.kind == "class":
        raise _refused(cls, source, f"run = {str(run)!r}: defines a Job itself; name a script or a function")
    return handler


def _signature_of(handler: Handler) -> RunSignature:
    return RunSignature(wants=handler.wants, is_async=handler.is_async)


def _require_parts(cls: type[Job], source: SourceFile) -> None:
    missing = []
    if not has_run(cls):
        missing.append(f"a method `run`{_slip(cls, 'run', mistaken=('execute', 'handle', 'perform'))}")
    if not has_schedule(cls):
        missing.append(f"a schedule (`schedule = …` or `get_schedule`){_slip(cls, 'schedule', 'get_schedule')}")
    if missing:
        raise _refused(cls, source, f"must define {' and '.join(missing)}")


def _slip(cls: type[Job], *meant: str, mistaken: tuple[str, ...] = ()) -> str:
    """A hint where the class has something that looks like what it lacks, or that other libraries call it by."""
    for own in vars(cls):
        if own.startswith("__"):
            continue
        if own in mistaken or did_you_mean(own.lower(), mistaken):
            return f"; it has {own!r}, did you mean {meant[0]!r}?"
        if hint := did_you_mean(own.lower(), [name for name in meant if name != own]):
            return f"; it has {own!r}, {hint.removeprefix('; ')}"
    return ""


def _instance(cls: type[Job], source: SourceFile) -> Job:
    try:
        return cls()
    except Exception as error:
        raise _refused(cls, source, f"cannot be made without arguments: {type(error).__name__}: {error}") from error


def _name_clashes(found: list[JobDefinition], source: SourceFile) -> list[ScanProblem]:
    holders: dict[str, JobDefinition] = {}
    clashes = []
    for each in found:
        holder = holders.setdefault(each.name, each)
        if holder is not each:
            message = f"takes the name {each.name!r}, which class {holder.job_class.__name__} of the same file has"
            clashes.append(_problem(_refused(each.job_class, source, message), source, name=each.name))
    return clashes


def _no_job(source: SourceFile) -> FileRejected:
    hint = f"defines no Job; if it only helps other files, start its name with '_': _{source.file.path.name}"
    return FileRejected([_problem(DefinitionError(path=source.path, message=hint), source)])


def _refused(cls: type[Job], source: SourceFile, message: str) -> DefinitionError:
    return DefinitionError(path=source.path, class_name=cls.__name__, message=message)


def _name_if_any(cls: type[Job], source: SourceFile, *, alone: bool) -> str | None:
    try:
        return job_name(cls, source.file, alone=alone)
    except DefinitionError:
        return None


def _problem(error: DefinitionError, source: SourceFile, *, name: str | None = None) -> ScanProblem:
    cause = error.__cause__
    trace = traceback_from(cause, source.path) if cause is not None else ""
    return ScanProblem(path=source.path, message=str(error), traceback=trace, job_name=name)
