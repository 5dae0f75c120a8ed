"""Who holds which job name: the file in force keeps it, and a file that comes later with the same name is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jobserver.definition import JobDefinition, ScanProblem
from jobserver.errors import DefinitionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The definitions in force by name, and a problem for every claim that was refused."""

    definitions: dict[str, JobDefinition]
    refused: tuple[ScanProblem, ...]


def settle_claims(claimed: Iterable[JobDefinition], in_force: Mapping[str, JobDefinition]) -> Claims:
    """Give every name to the file that held it before, else to the first by path."""
    held: dict[str, JobDefinition] = {}
    claimed = sorted(claimed, key=lambda each: (each.name, each.path))
    for each in claimed:
        before = in_force.get(each.name)
        if each.name not in held or (before is not None and each.path == before.path):
            held[each.name] = each
    refused = (_refusal(each, held[each.name]) for each in claimed if held[each.name] is not each)
    return Claims(definitions=held, refused=tuple(refused))


def _refusal(claim: JobDefinition, holder: JobDefinition) -> ScanProblem:
    message = f"its name {claim.name!r} is already taken by {holder.path}, which stays in force"
    error = DefinitionError(path=claim.path, class_name=claim.job_class.__name__, message=message)
    return ScanProblem(path=claim.path, message=str(error), job_name=claim.name)
