"""Rules about what was committed: locks, ends, leases, bounds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from tests.chaos.history import Change, Death, Document, Promise, Skip
from tests.chaos.rule import (
    CONFIGS,
    JOBS,
    SERVERS,
    TERMINAL,
    OfJobs,
    Violation,
    fence,
    is_claim,
    is_crash,
    is_end,
    recurs,
    token,
)

EARLY = timedelta(milliseconds=1)  # BSON cuts moments to milliseconds
BY_A_RUN = TERMINAL - {"cancelled"}  # ends that nothing comes to without having been claimed


class Claims(OfJobs):
    """Valid locks of a document never overlap, and each claim adds one to the fence, never before it is due."""

    promise = "claims never overlap, fences grow by one"

    def see_job(self, change: Change) -> Iterator[Violation]:
        before, after = change.before, change.after
        if is_claim(change):
            self.judged += 1
            yield from self._claim(change)
        elif after and token(before) != token(after) is not None:
            how = f"the lock of {before.get('lockedBy')} was overwritten by {after.get('lockedBy')}"
            yield self.broken(change, how)
        elif after and fence(after) != fence(before):
            yield self.broken(change, f"fence {fence(before)} became {fence(after)} without a claim")

    def _claim(self, change: Change) -> Iterator[Violation]:
        before, after = change.before, change.after
        if fence(after) != fence(before) + 1:
            yield self.broken(change, f"claimed, and fence {fence(before)} became {fence(after)}")
        due = before.get("nextRunAt")
        if not isinstance(due, datetime):
            yield self.broken(change, "claimed although it was not due at any time")
        elif due > change.at + EARLY:
            yield self.broken(change, f"claimed before it was due at {due:%H:%M:%S.%f}")


class Ends(OfJobs):
    """A run ends once, by the token of its claim; after the last end of a document nothing of it changes any more."""

    promise = "one end, by the token that holds the lock"

    def __init__(self) -> None:
        self.documents = 0
        self.count: Counter[str] = Counter()
        self._over: dict[Any, str] = {}

    def see_job(self, change: Change) -> Iterator[Violation]:
        if not change.before:
            self.documents += 1
        if is_end(change):
            yield from self._end(change)
        over = self._over.get(change.id)
        if over is not None and change.after and _outcome(change.after) != _outcome(change.before):
            yield self.broken(change, f"had ended as {over}, and changed to {change.after.get('status')}")
        elif token(change.before) is None and _becomes(change) in BY_A_RUN:
            yield self.broken(change, f"became {_becomes(change)}, and nobody held its lock")
        status = change.after.get("status")
        if status in TERMINAL and token(change.after) is None and not recurs(change.after):
            if change.id not in self._over:
                self.count[str(status)] += 1
            self._over[change.id] = str(status)

    def _end(self, change: Change) -> Iterator[Violation]:
        held, after = token(change.before), change.after
        if not after:
            yield self.broken(change, "removed while it was locked")
        elif is_crash(change):
            return
        elif after.get("status") in TERMINAL or after.get("failCount") != change.before.get("failCount"):
            self.judged += 1
            if after.get("settledBy") != held:
                yield self.broken(change, f"ended as {after.get('status')} by a token that does not hold its lock")
        elif after.get("status") not in ("queued", "scheduled"):
            yield self.broken(change, f"its lock was given up in status {after.get('status')}")


class Leases:
    """Only of servers whose lease is over, or that are known to have ended, locks are taken away."""

    promise = "the locks of a live server are not touched"
    judged = 0
    _CLOCKS = timedelta(seconds=1)  # between noticing an end outside and the moment that MongoDB writes

    def __init__(self, deaths: Iterable[Death]) -> None:
        self._deaths: dict[int, list[datetime]] = defaultdict(list)
        for death in deaths:
            self._deaths[death.pid].append(death.at)
        self._servers: dict[str, Document] = {}
        self._since: dict[str, datetime] = {}
        self._held: dict[str, set[Any]] = defaultdict(set)

    def see(self, change: Change) -> Iterator[Violation]:
        """Leases, and what is held under them."""
        if change.collection == SERVERS:
            yield from self._see_server(change)
        elif token(change.before) != token(change.after):
            yield from self._see_lock(change)

    def finish(self) -> Iterator[Violation]:
        """All is said."""
        return iter(())

    def _see_server(self, change: Change) -> Iterator[Violation]:
        if change.after:
            self._servers[change.id] = change.after
            self._since.setdefault(change.id, change.at)
            return
        server, held = self._servers.pop(change.id, None), len(self._held[change.id])
        if not server or not held:
            return
        self.judged += 1
        if not self._is_over(change.id, server, change.at):
            how = f"declared dead {server['leaseUntil'] - change.at} before the end of its lease, with {held} locks"
            yield Violation(promise=self.promise, subject=change.id, how=how, at=change.at)

    def _see_lock(self, change: Change) -> Iterator[Violation]:
        if token(change.before) is not None:
            owner = str(change.before.get("lockedBy"))
            self._held[owner].discard(repr(change.id))
            server = self._servers.get(owner)
            expired = change.before.get("lockUntil", change.at) < change.at
            self.judged += is_crash(change) and server is not None
            if is_crash(change) and server and not expired and not self._is_over(owner, server, change.at):
                how = f"its lock was taken from {owner}, whose lease lasts until {server['leaseUntil']:%H:%M:%S.%f}"
                yield Violation(promise=self.promise, subject=str(change.id), how=how, at=change.at)
        if token(change.after) is not None:
            self._held[str(change.after.get("lockedBy"))].add(repr(change.id))

    def _is_over(self, id_: str, server: Document, at: datetime) -> bool:
        """The death of an earlier process says nothing about one that has got its number since."""
        since = self._since[id_] - self._CLOCKS
        died = any(since <= moment <= at + self._CLOCKS for moment in self._deaths[server.get("pid", 0)])
        return died or bool(server["leaseUntil"] <= at)


class Attempts(OfJobs):
    """Neither attempts nor crashes of one occurrence go beyond their bounds."""

    promise = "attempts and crashes within bounds"

    def __init__(self, promise: Promise) -> None:
        self._promise = promise

    def see_job(self, change: Change) -> Iterator[Violation]:
        after = change.after
        allowed = self._promise.attempts.get(str(after.get("name")))
        self.judged += is_claim(change) and allowed is not None
        if is_claim(change) and allowed is not None and after.get("attempt", 0) > allowed:
            yield self.broken(change, f"attempt {after['attempt']} of {allowed}")
        if is_claim(change) and after.get("crashes", 0) >= self._promise.crashes:
            yield self.broken(change, f"claimed after {after['crashes']} crashes")


class Limits(OfJobs):
    """No more runs of a job at once than its limit across all servers."""

    promise = "limits across all servers are kept"

    def __init__(self, promise: Promise) -> None:
        self._limits = promise.limits
        self._running: Counter[str] = Counter()

    def see_job(self, change: Change) -> Iterator[Violation]:
        name = str(change.after.get("name") or change.before.get("name"))
        if name not in self._limits:
            return
        self._running[name] += (token(change.after) is not None) - (token(change.before) is not None)
        self.judged += is_claim(change)
        if is_claim(change) and self._running[name] > self._limits[name]:
            yield self.broken(change, f"{self._running[name]} at once, {self._limits[name]} allowed")


class Keys(OfJobs):
    """One active document per unique key; the key is read where the client has put it into the data as well."""

    promise = "one active document per unique key"

    def __init__(self) -> None:
        self._active: dict[tuple[str, str], set[str]] = defaultdict(set)

    def see_job(self, change: Change) -> Iterator[Violation]:
        document = change.after or change.before
        key = _data(document).get("key")
        if key is None:
            return
        active = self._active[str(document.get("name")), str(key)]
        active.discard(repr(change.id))
        if change.after and not (change.after.get("status") in TERMINAL and token(change.after) is None):
            active.add(repr(change.id))
            self.judged += not change.before
            if len(active) > 1:
                yield self.broken(change, f"{len(active)} active documents have the key {key}")


class Reports(OfJobs):
    """Progress and results come from the claim that holds the lock: the jobs of a chaos run say which one they are."""

    promise = "nothing is accepted with an old token"

    def see_job(self, change: Change) -> Iterator[Violation]:
        before, after, now = change.before, change.after, fence(change.after)
        report = after.get("progressData")
        if report and report != before.get("progressData"):
            self.judged += 1
            if token(after) is None:
                yield self.broken(change, "progress was reported while nobody held its lock")
            elif int(report["current"]) != now:
                yield self.broken(change, f"claim {int(report['current'])} reported progress, claim {now} holds it")
        result = after.get("result")
        if isinstance(result, dict) and result != before.get("result"):
            self.judged += 1
            if result.get("fence") != now:
                yield self.broken(change, f"the result is of claim {result.get('fence')}, claim {now} held it")


class Obedience:
    """When all is quiet, every server obeys every configuration: what is paused is not claimed."""

    promise = "configurations converge"
    judged = 0

    def __init__(self, settled_at: datetime | None) -> None:
        self._settled_at = settled_at
        self._paused: set[str] = set()

    def see(self, change: Change) -> Iterator[Violation]:
        """Pauses, and claims in spite of them."""
        if change.collection == CONFIGS:
            name = str(change.after.get("jobName") or change.before.get("jobName"))
            (self._paused.add if change.after.get("concurrency") == 0 else self._paused.discard)(name)
        elif change.collection == JOBS and self._settled_at and change.at > self._settled_at:
            name = str(change.after.get("name"))
            self.judged += name in self._paused and not change.before
            if name in self._paused and is_claim(change):
                how = f"claimed by {change.after.get('lockedBy')} while it is paused"
                yield Violation(promise=self.promise, subject=f"{name} {change.id}", how=how, at=change.at)

    def finish(self) -> Iterator[Violation]:
        """All is said."""
        return iter(())


class Occurrences(OfJobs):
    """A document that recurs each second is completed once, or recorded as skipped, for each second."""

    promise = "each occurrence is run once or recorded as skipped"
    _SECOND = timedelta(seconds=1)

    def __init__(self, skips: Iterable[Skip]) -> None:
        self._skips: dict[str, list[Skip]] = defaultdict(list)
        for skip in skips:
            self._skips[skip.id].append(skip)
        self._completed: dict[str, set[datetime]] = defaultdict(set)

    def see_job(self, change: Change) -> Iterator[Violation]:
        if not is_end(change) or change.after.get("status") != "completed" or change.after.get("type") != "single":
            return
        moment, completed = change.before["scheduledFor"], self._completed[str(change.id)]
        self.judged += 1
        if moment in completed:
            yield self.broken(change, f"completed a second time for {moment:%H:%M:%S.%f}")
        elif moment.microsecond:
            yield self.broken(change, f"run for {moment:%H:%M:%S.%f}, which is no moment of its schedule")
        completed.add(moment)

    def finish(self) -> Iterator[Violation]:
        """A walk from the first to the last that was completed."""
        for id_, completed in self._completed.items():
            moment = min(completed)
            while (moment := moment + self._SECOND) < max(completed):
                if moment not in completed and not any(_covers(skip, moment) for skip in self._skips[id_]):
                    how = f"neither run nor recorded as skipped for {moment:%H:%M:%S}"
                    yield Violation(promise=self.promise, subject=id_, how=how)


def _covers(skip: Skip, moment: datetime) -> bool:
    return skip.at == moment if skip.until is None else skip.at <= moment < skip.until


def _becomes(change: Change) -> Any:
    """The status that it did not have before."""
    status = change.after.get("status")
    return None if status == change.before.get("status") else status


def _outcome(document: Document) -> tuple[Any, ...]:
    return tuple(document.get(each) for each in ("status", "fence", "lockToken", "settledBy", "result", "failedAt"))


def _data(document: Document) -> Document:
    data = document.get("data")
    return data if isinstance(data, dict) else {}
