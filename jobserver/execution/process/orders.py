"""What a zygote and a run are told, as mappings that can be sent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any

from jobserver.definition import Code, JobDefinition
from jobserver.execution.handles import Lifeline
from jobserver.job import CancelFlag, JobContext
from jobserver.limits import Limits

_NOT_SENT = ("cancelled", "poster")


def run_order(
    definition: JobDefinition, run: Lifeline, *, code: Code, is_loaded: bool, address: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that the process of a run has to know; `address` says where its database is."""
    context = run.context
    return {
        "name": run.name,
        "run_id": run.run_id,
        "data": run.data,
        "context": {each.name: getattr(context, each.name) for each in fields(context) if each.name not in _NOT_SENT},
        "wants": list(definition.wants),
        "is_async": definition.is_async,
        "driver": definition.driver,
        "code": code_order(code, with_content=not is_loaded),
        "is_loaded": is_loaded,
        "limits": _limits_order(definition.limits),
        "level": logging.getLogger().getEffectiveLevel(),
        "address": dict(address),
    }


def code_order(code: Code, *, with_content: bool = True) -> dict[str, Any]:
    """Where code is, and what its file held."""
    order = {each.name: getattr(code, each.name) for each in fields(code)}
    return order if with_content else {**order, "content": None}


def code_of(order: Mapping[str, Any]) -> Code:
    """The other way round."""
    return Code(**order)


def context_of(order: Mapping[str, Any], cancelled: CancelFlag) -> JobContext:
    """The context of the run that the order is for."""
    return JobContext(**order["context"], cancelled=cancelled)


def limits_of(order: Mapping[str, Any]) -> Limits:
    """The limits of the run that the order is for."""
    told = dict(order["limits"])
    cpu = told.pop("cpu")
    return Limits(cpu=None if cpu is None else timedelta(seconds=cpu), **told)


def _limits_order(limits: Limits) -> dict[str, Any]:
    cpu = limits.cpu
    return {
        "memory": limits.memory,
        "cpu": cpu.total_seconds() if isinstance(cpu, timedelta) else None,
        "nice": limits.nice,
        "folder": limits.folder,
    }
