"""The update by which the holder of a recurring job takes on a schedule.

A schedule that it already has is left alone, so a missed run is not dropped. While the holder is locked, a new moment
waits in `rearmAt` for the run's own settlement. A disabled holder has no `nextRunAt`; a one-time schedule keeps its
moment in `heldRunAt` meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from jobserver.store.expressions import (
    NOW,
    OCCURRENCE_FIELDS,
    REMOVE,
    Document,
    Expression,
    either,
    is_there,
    keep,
    literal,
)
from jobserver.store.states import TRANSITIONS, Transition

_LOCKED = is_there("lockToken")
_WAKES: Expression = {"$eq": ["$disabled", True]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arming:
    """A schedule for the holder.

    `first` is a moment or an expression, None for a schedule that never fires by itself; `occurrence` is what it stands
    for, where jitter has moved it. `fields` go in as they are. `afresh` also re-arms a holder buried as poison.
    """

    key: str
    first: Expression | None
    recurs: bool
    enabled: bool
    priority: int
    fields: Document = field(default_factory=dict)
    afresh: bool = False
    occurrence: Expression | None = None

    @property
    def moment(self) -> Expression:
        """Its first moment, or none."""
        return REMOVE if self.first is None else self.first

    @property
    def changed(self) -> Expression:
        """Whether the holder has to begin anew."""
        another: Expression = {"$ne": ["$scheduleKey", self.key]}
        return {"$or": [another, {"$eq": ["$poison", True]}]} if self.afresh else another


def arm(arming: Arming) -> list[Document]:
    """any state but running → scheduled, where the schedule has changed or the job was disabled."""
    changed, scheduled = arming.changed, TRANSITIONS[Transition.ARM].target
    begins_anew: Expression = {"$and": [changed, {"$not": [_LOCKED]}]}
    return [
        {
            "$set": {
                **_moments(arming),
                "status": either(begins_anew, scheduled, {"$ifNull": ["$status", scheduled]}),
                "disabled": REMOVE if arming.enabled else True,
                "anchorAt": either(changed, NOW, {"$ifNull": ["$anchorAt", NOW]}),
                # one that was withdrawn with its job is wanted again
                **{each: either(changed, REMOVE, keep(each)) for each in ("poison", "withdrawn", "expireAt")},
                **{each: either(begins_anew, REMOVE, keep(each)) for each in OCCURRENCE_FIELDS},
                **_stands_for(arming),
                "scheduleKey": literal(arming.key),
                "createdAt": {"$ifNull": ["$createdAt", NOW]},
                "priority": arming.priority,
                **arming.fields,
            }
        }
    ]


def _moments(arming: Arming) -> Document:
    """When it is due, where that moment waits while it is locked, and where while it is disabled."""
    changed, moment, held = arming.changed, arming.moment, keep("heldRunAt")
    when_unlocked: Expression = REMOVE
    if arming.enabled:
        # The run that was under way when it was disabled may have failed: what is due then is in nextRunAt.
        on_wake = moment if arming.recurs else {"$ifNull": [held, keep("nextRunAt")]}
        cases = [{"case": changed, "then": moment}, {"case": _WAKES, "then": on_wake}]
        when_unlocked = {"$switch": {"branches": cases, "default": keep("nextRunAt")}}
    # While it is locked, nextRunAt is the moment of the run under way, which is not owed again.
    due_later = {"$ifNull": [either(_LOCKED, REMOVE, "$nextRunAt"), held]}
    is_held = not arming.enabled and not arming.recurs
    return {
        "nextRunAt": either(_LOCKED, keep("nextRunAt"), when_unlocked),
        "rearmAt": either({"$and": [_LOCKED, changed]}, moment, keep("rearmAt")),
        "heldRunAt": either(changed, moment, due_later) if is_held else REMOVE,
    }


def _stands_for(arming: Arming) -> Document:
    anew: Expression = {"$and": [{"$not": [_LOCKED]}, {"$or": [arming.changed, _WAKES]}]}
    occurrence = REMOVE if arming.occurrence is None else arming.occurrence
    return {"occurrenceAt": either(anew, occurrence, keep("occurrenceAt"))}
