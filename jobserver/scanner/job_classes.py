"""Which classes of a loaded file are jobs, and what each is called."""

from __future__ import annotations

import inspect
from types import ModuleType

from jobserver.errors import DefinitionError
from jobserver.job import Job
from jobserver.scanner.sources import JobFile

LONGEST_NAME = 200


def job_classes(module: ModuleType) -> list[type[Job]]:
    """The jobs that the file itself defines, in its order.

    Imported classes do not count, nor do bases: abstract classes, classes whose name starts with `_`, and classes
    without run or schedule that another class of the file extends.
    """
    own = list(dict.fromkeys(value for value in vars(module).values() if _is_defined_in(module, value)))
    return [cls for cls in own if not _is_base(cls, own)]


def job_name(cls: type[Job], file: JobFile, *, alone: bool) -> str:
    """`category:stem`, with the class's `name` in place of the stem; DefinitionError if that is no name, or lacks."""
    stated = cls.name if alone else vars(cls).get("name")
    if stated is None:
        if alone:
            return file.default_name
        raise _refused(cls, file, "the file holds several jobs, so each class needs a `name` of its own")
    if not isinstance(stated, str):
        raise _refused(cls, file, f"`name` must be text, not {stated!r}")
    parts = stated.split(":")
    if not all(parts) or stated != stated.strip() or not stated.isprintable() or len(stated) > LONGEST_NAME:
        raise _refused(cls, file, f"{stated!r} cannot be a name: use printable text such as 'nightly' or 'api:nightly'")
    return stated if len(parts) > 1 else f"{file.category}:{stated}"


def has_run(cls: type[Job]) -> bool:
    """Whether the class or one of its bases defines `run`."""
    return getattr(cls, "run", None) is not None


def has_schedule(cls: type[Job]) -> bool:
    """Whether the class or one of its bases states a schedule, by attribute or method."""
    return cls.schedule is not None or cls.get_schedule is not Job.get_schedule


def _is_defined_in(module: ModuleType, value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Job) and value.__module__ == module.__name__


def _is_base(cls: type[Job], own: list[type[Job]]) -> bool:
    if cls.__name__.startswith("_") or inspect.isabstract(cls):
        return True
    extended = any(other is not cls and issubclass(other, cls) for other in own)
    return extended and not (has_run(cls) and has_schedule(cls))


def _refused(cls: type[Job], file: JobFile, message: str) -> DefinitionError:
    return DefinitionError(path=str(file.path), class_name=cls.__name__, message=message)
