"""The table of transitions, pair by pair, on a real mongod: a legal move is made, an illegal one changes no byte."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from bson import ObjectId

from jobserver import SyncJobClient
from jobserver.store.arming import Arming
from jobserver.store.claims import as_claimed
from jobserver.store.states import ENDED, TRANSITIONS, Status, Transition
from jobserver.store.transitions import MAX_CRASHES
from tests.stores import FAR_AHEAD, LIFETIME, LONG_AGO, Workplace, claim, ending, lane, locks_in

pytestmark = pytest.mark.timeout(30)

# What comes while a run is under way is kept for its end.
MEANWHILE = (Transition.ARM, Transition.FOLLOW, Transition.WITHDRAW)
STATES = (None, *Status)
# A holder is armed and claimed whatever its last run came to; every other move is one of a single occurrence.
OF_HOLDERS = (Transition.ARM, Transition.CLAIM)
OF_CHAINS = (Transition.FOLLOW, Transition.WITHDRAW)


class Pair:
    """A document in one state, and one transition that is tried on it."""

    def __init__(self, place: Workplace, status: Status | None, transition: Transition) -> None:
        self.place, self.status, self.transition = place, status, transition
        self.name, self.server, self.token = (f"{what} {uuid4().hex}" for what in ("job", "server", "token"))
        self.id = ObjectId()
        place.jobs.insert_one({"_id": self.id, "name": self.name, **self._fields()})

    def document(self) -> dict[str, Any]:
        return self.place.get(self.id)

    async def attempt(self) -> None:
        """Try the transition by the one way that there is to make it."""
        match self.transition:
            case Transition.ADOPT:
                self.place.strays().adopt({self.name: 0})
            case Transition.ARM:
                await self._arm()
            case Transition.CLAIM:
                async with self.place.store() as store:
                    await claim(store, lane(self.name), owner=self.server, token=self.token)
            case Transition.REAP | Transition.BURY:
                self.place.locks().reap_server(self.server)
            case Transition.REVIVE:
                self.place.editor().revive([self.id])
            case Transition.FOLLOW:
                self.place.chains().sweep()
            case Transition.WITHDRAW:
                SyncJobClient(self.place.db).cancel(self.id)
            case _:
                await self._settle()

    async def _arm(self) -> None:
        async with self.place.store() as store:
            await store.arm(
                self.name,
                Arming(key="another schedule", first=FAR_AHEAD, recurs=True, enabled=True, priority=0),
                create=False,
            )

    async def _settle(self) -> None:
        job = as_claimed({"_id": self.id, "name": self.name, **self._lock()})
        async with self.place.store() as store:
            how = ending(job, self.transition, error="broken", retry_in=timedelta(minutes=1))
            lost = await store.settle([how])
        # Whoever gives back what it does not hold has lost nothing.
        assert bool(lost) is (self.status is not Status.RUNNING and self.transition is not Transition.RELEASE)

    def _fields(self) -> dict[str, Any]:
        """What a document in this state looks like when a server, a client or a hand has left it so."""
        holder = self.transition in OF_HOLDERS
        if self.status is None:
            if self.transition in OF_CHAINS:
                return self._chain()
            return {"nextRunAt": LONG_AGO, **({"type": "single", "scheduleKey": "a schedule"} if holder else {})}
        fields: dict[str, Any] = {"type": "normal", "status": self.status, "priority": 0, "createdAt": LONG_AGO}
        if holder:
            fields |= {"type": "single", "scheduleKey": "a schedule", "anchorAt": LONG_AGO}
        if self.transition in OF_CHAINS:
            fields |= self._chain()
        elif holder or self.status not in ENDED:
            fields["nextRunAt"] = LONG_AGO
        if self.status is Status.RUNNING:
            fields |= self._lock()
        elif self.status in ENDED:
            fields |= {"fence": 4, "runCount": 4, "lastRunAt": LONG_AGO, "lastFinishedAt": LONG_AGO, "duration": 0}
            fields["settledBy"] = "the token of another claim"
        return fields

    def _chain(self) -> dict[str, Any]:
        """It starts each time that another document has completed, and that one just has."""
        parent = self.place.jobs.insert_one({"name": "before it", "status": "completed", "settledBy": "a token"})
        return {"startAfter": parent.inserted_id, "follows": "", "recurrence": True}

    def _lock(self) -> dict[str, Any]:
        crashes = {"crashes": MAX_CRASHES - 1} if self.transition is Transition.BURY else {}
        return {
            "lockToken": self.token,
            "lockedBy": self.server,
            "lockedAt": LONG_AGO,
            "lockUntil": FAR_AHEAD,
            "lastRunAt": LONG_AGO,
            "scheduledFor": LONG_AGO,
            **{"fence": 4, "attempt": 1, "runCount": 4},
            **crashes,
        }


def pairs(*, legal: bool) -> list[Any]:
    return [
        pytest.param(status, transition, id=f"{status or 'unstated'}-{transition}")
        for transition, move in TRANSITIONS.items()
        for status in STATES
        if (status in move.sources) is legal
    ]


def test_every_transition_has_its_move_in_the_table() -> None:
    assert set(TRANSITIONS) == set(Transition)


@pytest.mark.parametrize(("status", "transition"), pairs(legal=True))
async def test_a_legal_move_leads_to_its_target_and_leaves_the_right_lock(
    place: Workplace, status: Status | None, transition: Transition
) -> None:
    pair = Pair(place, status, transition)
    await pair.attempt()
    document = pair.document()
    assert document["status"] == TRANSITIONS[transition].target
    if transition is Transition.CLAIM:
        assert (document["lockToken"], document["lockedBy"]) == (pair.token, pair.server)
        assert document["lockUntil"] - document["lockedAt"] == LIFETIME
        assert document["lockedAt"] == document["lastRunAt"]
    else:
        assert locks_in(document) == set()
    assert not [field for field, value in document.items() if value is None]


@pytest.mark.parametrize(
    ("status", "transition"),
    [pair for pair in pairs(legal=False) if pair.values not in [(Status.RUNNING, each) for each in MEANWHILE]],
)
async def test_an_illegal_move_changes_no_byte(place: Workplace, status: Status | None, transition: Transition) -> None:
    pair = Pair(place, status, transition)
    before = place.raw(pair.id)
    await pair.attempt()
    assert place.raw(pair.id) == before


@pytest.mark.parametrize("transition", MEANWHILE)
async def test_what_comes_during_a_run_leaves_its_status_its_lock_and_its_moment_alone(
    place: Workplace, transition: Transition
) -> None:
    pair = Pair(place, Status.RUNNING, transition)
    before = pair.document()
    await pair.attempt()
    after = pair.document()
    kept = ("status", "lockToken", "lockedBy", "lockedAt", "lockUntil", "nextRunAt", "attempt", "scheduledFor", "fence")
    assert [after.get(field) for field in kept] == [before.get(field) for field in kept]
    waiting = {Transition.ARM: ["rearmAt"], Transition.FOLLOW: ["rearmAt"], Transition.WITHDRAW: ["withdrawn"]}
    assert [field for field in ("rearmAt", "withdrawn") if field in after] == waiting[transition]


async def test_a_document_that_says_running_but_carries_no_lock_may_be_claimed(place: Workplace) -> None:
    """People free a stuck job by removing its lock and nothing else."""
    pair = Pair(place, Status.RUNNING, Transition.CLAIM)
    place.jobs.update_one({"_id": pair.id}, {"$unset": dict.fromkeys(("lockToken", "lockedAt", "lockedBy"), "")})
    await pair.attempt()
    assert pair.document()["lockToken"] == pair.token
    assert pair.document()["fence"] == 5
