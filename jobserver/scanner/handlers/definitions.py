"""Code that was handed over, under a name and with a time → a job definition like that of any job file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from jobserver.definition import Execution, JobDefaults, JobDefinition
from jobserver.errors import DefinitionError, ScheduleError
from jobserver.scanner.handlers.functions import read_function
from jobserver.scanner.handlers.handler import Handler
from jobserver.scanner.handlers.references import read_reference, stored_as_text
from jobserver.scanner.handlers.standing_in import CATEGORY, standing_in
from jobserver.scanner.loading import load
from jobserver.scanner.prober import Prober
from jobserver.scanner.rejection import FileRejected
from jobserver.scanner.source_file import read_source
from jobserver.scanner.sources import JobFile
from jobserver.schedule import Schedule

PROBE_TIMEOUT = timedelta(seconds=10)
UNNAMED = "name: a function needs a name; say name='…' (a path takes that of its file)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """What a program hands to a server; `at` None is one run now, `name` None the stem of the path."""

    job: Any
    name: str | None = None
    at: Any = None
    data: Any = None
    offloaded: bool = True


def define_handed(handed: Handed) -> JobDefinition:
    """Its definition: in a process of its own where it is offloaded, else in turn on this server.

    Reads files, and imports a file with a Job class in a throw-away process first. Raises DefinitionError,
    ScheduleError.
    """
    job = handed.job
    if isinstance(job, str | Path):
        handler = read_reference(job)
    elif callable(job):
        if handed.name is None:
            raise DefinitionError(path=getattr(job, "__qualname__", repr(job)), message=UNNAMED)
        handler = read_function(job, offloaded=handed.offloaded)
    else:
        raise DefinitionError(path=repr(job), message="is neither a function nor a path nor 'package.module:function'")
    return _defined(handler, replace(handed, name=handler.stem if handed.name is None else handed.name))


def define_stored(name: str, stored: Mapping[str, Any]) -> JobDefinition:
    """The definition of a job whose document says how to run it. Raises DefinitionError."""
    try:
        reference = stored_as_text(stored)
    except KeyError as error:
        raise DefinitionError(path=name, message=f"its `handler` has no {error}") from error
    return define_handed(Handed(job=reference, name=name))


def _defined(handler: Handler, handed: Handed) -> JobDefinition:
    schedule = _schedule(handed.at)
    if handler.code is not None and handler.code.kind == "class":
        return _of_class(Path(handler.path), handed, schedule)
    if not handed.offloaded and handler.code is not None and handler.code.kind == "script":
        raise DefinitionError(
            path=handler.path, message="is a script, which runs in a process of its own: leave out offloaded=False"
        )
    assert handed.name is not None
    return JobDefinition(
        name=handed.name,
        path=handler.path,
        checksum=_checksum(handler.checksum, schedule),
        job_class=standing_in(handler),
        is_async=handler.is_async,
        wants=handler.wants,
        defaults=JobDefaults(
            schedule=schedule, concurrency=1, execution=Execution.PROCESS if handed.offloaded else None
        ),
        code=handler.code,
        data=handed.data,
        in_turn=not handed.offloaded,
    )


def _schedule(at: Any) -> Schedule:
    try:
        return Schedule.parse("manual" if at is None else at)
    except ScheduleError as error:
        raise ScheduleError(error.message, field=error.field.replace("schedule", "at", 1)) from error


def _of_class(path: Path, handed: Handed, schedule: Schedule) -> JobDefinition:
    """What the class says of itself holds, but for its name, its schedule and where it runs."""
    (definition, *others) = _tried(path)
    if others:
        names = ", ".join(each.job_class.__name__ for each in (definition, *others))
        raise DefinitionError(path=str(path), message=f"defines several jobs ({names}): give each a file of its own")
    assert handed.name is not None
    execution = Execution.PROCESS if handed.offloaded else None
    return replace(
        definition,
        name=handed.name,
        checksum=_checksum(definition.checksum, schedule),
        defaults=replace(definition.defaults, schedule=schedule, execution=execution),
        data=handed.data,
        in_turn=not handed.offloaded,
    )


def _tried(path: Path) -> tuple[JobDefinition, ...]:
    """As the scanner does: first where it can do no harm."""
    source = read_source(JobFile(path=path, category=CATEGORY))
    if source is None:
        raise DefinitionError(path=str(path), message="there is no such file")
    report = Prober(timeout=PROBE_TIMEOUT).probe([source])
    problems = report.verdicts.get(source.path)
    if problems is None:
        raise DefinitionError(path=source.path, message=f"could not be tried: {report.trouble}")
    if problems:
        raise FileRejected(problems)
    return load(source).definitions


def _checksum(code: str, schedule: Schedule) -> str:
    """Another time is another job: what was set for the one before does not hold for it."""
    return sha256(f"{code}:{schedule.key}".encode()).hexdigest()
