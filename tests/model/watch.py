"""What must be true of the documents: as the model has them, and whatever the model says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from jobserver.store.states import Status
from tests.model.acts import LIMITED
from tests.model.bench import now
from tests.model.model import MAX_CRASHES, Claimed, Job, Model

Document = Mapping[str, Any]

CLOSE = timedelta(minutes=2)  # how long an example may take; all lengths are farther apart
LOCK = ("lockToken", "lockedAt", "lockedBy", "lockUntil")


class Watch:
    """The invariants that span several looks. `running`, by name, what a backup brings: no limit ever ends a run."""

    def __init__(self, running: Mapping[str, int] | None = None) -> None:
        self._claims: dict[Any, dict[int, str]] = {}  # the token of each claim of a document, by its fence
        self._fences: dict[Any, int] = {}
        self._accepted: set[tuple[Any, str]] = set()
        self._ceilings = dict(running or {})

    def accepted(self, claimed: Claimed) -> None:
        """The end of this claim was stored: there is no other."""
        assert (claimed.id, claimed.token) not in self._accepted, f"two ends of {claimed} were stored"
        self._accepted.add((claimed.id, claimed.token))

    def look(self, stored: Mapping[Any, Document], *, limits: Mapping[str, int]) -> None:
        """At every document, after every act."""
        assert self._fences.keys() <= stored.keys(), "a document is gone"
        for id_, document in stored.items():
            self._look_at(id_, document)
        keys = Counter((each["name"], each["uniqueKey"]) for each in stored.values() if "uniqueKey" in each)
        assert max(keys.values(), default=0) <= 1, f"two active documents of one key: {keys}"
        holders = Counter(each["name"] for each in stored.values() if each["type"] == "single")
        assert max(holders.values(), default=0) <= 1, f"two holders of one job: {holders}"
        slots = Counter(each["globalSlot"] for each in stored.values() if "globalSlot" in each)
        assert max(slots.values(), default=0) <= 1, f"two runs in one slot: {slots}"
        for name, limit in limits.items():
            self._keep_to(name, limit, stored)

    def _look_at(self, id_: Any, document: Document) -> None:
        assert ("lockToken" in document) == (document["status"] == Status.RUNNING), f"{id_} runs without a lock"
        assert len({field in document for field in LOCK}) == 1, f"{id_} has a part of a lock"
        assert document.get("crashes", 0) <= MAX_CRASHES, f"{id_} has crashed too often"
        fence = document.get("fence", 0)
        assert document.get("attempt", 0) <= fence
        assert fence >= self._fences.get(id_, 0), f"the fence of {id_} went back"
        self._fences[id_] = fence
        if "lockToken" in document:
            assert "nextRunAt" in document, f"{id_} would be lost with its server"
            tokens = self._claims.setdefault(id_, {})
            token = tokens.setdefault(fence, document["lockToken"])
            assert token == document["lockToken"], f"two claims of {id_} have the same fence"

    def _keep_to(self, name: str, limit: int, stored: Mapping[Any, Document]) -> None:
        """When a limit is lowered, what runs may end in peace."""
        running = sum("lockToken" in each for each in stored.values() if each["name"] == name)
        ceiling = max(limit, self._ceilings.get(name, limit))
        assert running <= ceiling, f"{running} of {name} run, and {ceiling} may"
        self._ceilings[name] = max(limit, running)


def compared(stored: Mapping[Any, Document], model: Model, leases: Mapping[str, datetime]) -> None:
    """Raises AssertionError that names each difference."""
    assert stored.keys() == model.jobs.keys(), f"stored are {set(stored)}, and not {set(model.jobs)}"
    moment = now()
    wrong = [
        f"{id_}: {each}" for id_, job in model.jobs.items() for each in _differences(stored[id_], job, model, moment)
    ]
    assert leases.keys() == model.leases.keys(), f"registered are {set(leases)}, and not {set(model.leases)}"
    wrong += [
        each for id_, until in model.leases.items() for each in _apart(id_, leases[id_], until, model.now, moment)
    ]
    assert not wrong, "stored is not what the model says:\n  " + "\n  ".join(wrong)


def _differences(document: Document, job: Job, model: Model, moment: datetime) -> list[str]:
    plain = {
        "status": job.status,
        "uniqueKey": job.key,
        "fence": job.fence,
        "attempt": job.attempt,
        "crashes": job.crashes,
        "lockToken": job.token,
        "lockedBy": job.owner,
        "runCount": job.run_count,
        "finishedCount": job.finished_count,
        "failCount": job.fail_count,
        "crashedToken": job.crashed_token,
        "scheduleKey": job.schedule,
        "poison": job.poison or None,
        "disabled": job.disabled or None,
        "withdrawn": job.withdrawn or None,
    }
    found = [
        f"{field} is {document.get(field)!r}, not {value!r}"
        for field, value in plain.items()
        if document.get(field) != value
    ]
    settled_by = document.get("settledBy", "").split(":")[0] or None
    if settled_by != job.settled_by:
        found.append(f"settledBy is {settled_by!r}, not {job.settled_by!r}")
    asked = document.get("cancelRequest", {}).get("token")
    if asked != job.asked_to_stop:
        found.append(f"cancelRequest is for {asked!r}, not for {job.asked_to_stop!r}")
    has_slot = job.name == LIMITED and job.token is not None
    if ("globalSlot" in document) != has_slot or ("expireAt" in document) != job.expires:
        found.append(f"globalSlot or expireAt: {document.get('globalSlot')}, {document.get('expireAt')}; {job}")
    moments = {
        "nextRunAt": job.due,
        "lockUntil": job.lock_until,
        "deadlineAt": job.deadline,
        "rearmAt": job.rearm,
        "scheduledFor": job.scheduled_for,
    }
    for field, minute in moments.items():
        found += _apart(field, document.get(field), minute, model.now, moment)
    return found


def _apart(what: str, stored: datetime | None, minute: int | None, minute_now: int, moment: datetime) -> list[str]:
    if stored is None or minute is None:
        return [] if stored is None and minute is None else [f"{what} is {stored}, not {minute}"]
    apart = (stored - moment) - timedelta(minutes=minute - minute_now)
    return [] if abs(apart) < CLOSE else [f"{what} is {apart} from where it should be"]
