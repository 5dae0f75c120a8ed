"""What `run` asks for: parameter names out of a fixed set, given by name."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from jobserver.errors import did_you_mean
from jobserver.job import RUN_PARAMETERS, Job


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSignature:
    """How a runner has to call `run`."""

    wants: tuple[str, ...]
    is_async: bool


def run_signature(job: Job) -> RunSignature:
    """Read `job.run`; ValueError says what is wrong with it."""
    run: Callable[..., Any] = getattr(job, "run")  # noqa: B009 - Job itself has no `run`, authors add it
    if not callable(run):
        raise ValueError(f"`run` must be a method, not {type(run).__name__}")
    if inspect.isasyncgenfunction(run) or inspect.isgeneratorfunction(run):
        raise ValueError("`run` must not yield: return the result, report on the way with `progress`")
    _refuse_missing_self(job)
    parameters = inspect.signature(run).parameters.values()
    check_parameters(parameters)
    return RunSignature(wants=tuple(each.name for each in parameters), is_async=inspect.iscoroutinefunction(run))


def check_parameters(parameters: Iterable[Parameter], *, called: str = "run") -> None:
    """ValueError says what is wrong with one of them; `called` is the function's own name."""
    for parameter in parameters:
        _check(parameter, f"`{called}`")


def parameters_of(arguments: ast.arguments) -> list[Parameter]:
    """The parameters of a function that is not imported."""
    found = [Parameter(each.arg, Parameter.POSITIONAL_ONLY) for each in arguments.posonlyargs]
    found += [Parameter(each.arg, Parameter.POSITIONAL_OR_KEYWORD) for each in arguments.args]
    found += [Parameter(arguments.vararg.arg, Parameter.VAR_POSITIONAL)] if arguments.vararg else []
    found += [Parameter(each.arg, Parameter.KEYWORD_ONLY) for each in arguments.kwonlyargs]
    return found + ([Parameter(arguments.kwarg.arg, Parameter.VAR_KEYWORD)] if arguments.kwarg else [])


def _refuse_missing_self(job: Job) -> None:
    raw = inspect.getattr_static(job, "run")
    if not inspect.isfunction(raw):
        return
    first = next(iter(inspect.signature(raw).parameters), None)
    if first is None or first in RUN_PARAMETERS:
        raise ValueError("`run` lacks `self` as its first parameter")


def _check(parameter: Parameter, run: str) -> None:
    name, known = parameter.name, f"it can ask for {', '.join(RUN_PARAMETERS)}"
    if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
        stars = "*" if parameter.kind is Parameter.VAR_POSITIONAL else "**"
        raise ValueError(f"{run} must not take {stars}{name}: what it needs is given to it by name; {known}")
    if name not in RUN_PARAMETERS:
        raise ValueError(f"{run} asks for unknown {name!r}{did_you_mean(name, RUN_PARAMETERS)}; {known}")
    if parameter.kind is Parameter.POSITIONAL_ONLY:
        raise ValueError(f"{run} takes {name!r} by position only, and is called by name: remove the `/`")
