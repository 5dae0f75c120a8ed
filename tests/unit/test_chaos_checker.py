"""The checker of chaos runs on histories made by hand: a good one is clean, each bad one is found for what it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.chaos.checker import Verdict, check
from tests.chaos.conduct import Proof
from tests.chaos.faults import Fault, Kind
from tests.chaos.figures import Recovery, Spread, recovery
from tests.chaos.history import Change, Death, Outside, Promise, Sign, Skip, Step
from tests.chaos.plan import SHORT
from tests.chaos.report import document, lines, missed
from tests.chaos.rule import CONFIGS, JOBS, SERVERS
from tests.chaos.witness import changes as put_together

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)
OWNER = "here:7:aa"
PROMISE = Promise(limits={"limited": 1}, attempts={"job": 1})


class History:
    """Changes of documents, one after the other, a second apart."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.steps: list[Step] = []
        self._now: dict[tuple[str, Any], dict[str, Any]] = {}
        self.write(SERVERS, OWNER, pid=7, leaseUntil=NOON + 1000 * LEASE)

    def write(self, collection: str, id_: Any, *remove: str, **fields: Any) -> None:
        before = self._now.get((collection, id_), {})
        after = {key: value for key, value in (before | fields).items() if key not in remove}
        self._now[collection, id_] = after
        self._add(collection, id_, before, after)

    def delete(self, collection: str, id_: Any) -> None:
        self._add(collection, id_, self._now.pop((collection, id_)), {})

    def enqueue(self, id_: str, **fields: Any) -> None:
        self.write(JOBS, id_, **({"name": "job", "type": "normal", "status": "queued", "nextRunAt": NOON} | fields))

    def claim(self, id_: str, **fields: Any) -> None:
        before = self._now[JOBS, id_]
        claimed = {
            "status": "running",
            "lockToken": f"token {before.get('fence', 0) + 1}",
            "lockedBy": OWNER,
            "lockUntil": NOON + LEASE * 100,
            "fence": before.get("fence", 0) + 1,
            "attempt": before.get("attempt", 0) + 1,
            "scheduledFor": before["nextRunAt"],
        }
        self.write(JOBS, id_, **(claimed | fields))

    def complete(self, id_: str, *, work: bool = True, **fields: Any) -> None:
        before = self._now[JOBS, id_]
        if work:
            self.work(id_, before["fence"])
        ended = {"status": "completed", "settledBy": before["lockToken"], "result": {"fence": before["fence"]}}
        self.write(JOBS, id_, "lockToken", "lockedBy", "lockUntil", "attempt", "nextRunAt", **(ended | fields))

    def retry(self, id_: str) -> None:
        before = self._now[JOBS, id_]
        failed = {"status": "scheduled", "settledBy": before["lockToken"], "failCount": before.get("failCount", 0) + 1}
        self.write(JOBS, id_, "lockToken", "lockedBy", "lockUntil", **failed)

    def crash(self, id_: str) -> None:
        before = self._now[JOBS, id_]
        crashed = {
            "status": "queued",
            "crashedToken": before["lockToken"],
            "crashes": before.get("crashes", 0) + 1,
            "attempt": before["attempt"] - 1,
        }
        self.write(JOBS, id_, "lockToken", "lockedBy", "lockUntil", **crashed)

    def work(self, id_: str, fence: int, *signs: Sign, at: float | None = None, is_process: bool = False) -> None:
        begin = float(len(self.changes)) if at is None else at
        for number, sign in enumerate(signs or (Sign.BEGIN, Sign.END)):
            step = Step(job="job", id=id_, fence=fence, sign=sign, clock=begin + number / 10, pid=7)
            self.steps.append(replace(step, is_process=is_process))

    def judge(self, *accepted: str, **outside: Any) -> Verdict:
        return check(self.changes, self.steps, Outside(accepted=frozenset(accepted), promise=PROMISE, **outside))

    def _add(self, collection: str, id_: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
        at = NOON + timedelta(seconds=1 + len(self.changes))
        self.changes.append(Change(at=at, collection=collection, id=id_, before=before, after=after))


@pytest.fixture
def history() -> History:
    return History()


def one(verdict: Verdict) -> str:
    """What the only violation says."""
    assert len(verdict.violations) == 1, verdict.violations
    return str(verdict.violations[0])


def test_a_history_as_it_should_be_is_clean_and_counted(history: History) -> None:
    history.enqueue("a")
    history.claim("a")
    history.retry("a")
    history.claim("a", attempt=1, progressData={"current": 2})
    history.complete("a")
    verdict = history.judge("a")
    assert verdict.is_clean, verdict.violations
    assert (verdict.documents, verdict.claims, verdict.runs, verdict.ends) == (1, 2, 1, {"completed": 1})


def test_what_was_accepted_and_is_not_there_is_lost(history: History) -> None:
    assert "x: accepted, and never stored" in one(history.judge("x"))


def test_what_was_accepted_and_removed_is_lost(history: History) -> None:
    history.enqueue("a")
    history.delete(JOBS, "a")
    assert "accepted, and removed" in one(history.judge("a"))


def test_what_has_not_ended_is_lost_also_when_nobody_was_promised_it(history: History) -> None:
    history.enqueue("a")
    assert "was left queued" in one(history.judge())


def test_a_recurring_document_may_wait_and_must_not_stay_locked(history: History) -> None:
    history.enqueue("a", type="single")
    assert history.judge().is_clean
    history.claim("a")
    assert f"was left locked by {OWNER}" in one(history.judge())


def test_a_request_that_was_stored_twice_is_found(history: History) -> None:
    for id_ in ("a", "b"):
        history.enqueue(id_, data={"n": 1})
        history.claim(id_)
        history.complete(id_)
    assert "request 1 was stored 2 times" in one(history.judge())


def test_a_claim_over_a_lock_is_found(history: History) -> None:
    history.enqueue("a")
    history.claim("a")
    history.claim("a", attempt=1)
    history.complete("a")
    overwritten, under_no_claim = history.judge().violations
    assert f"the lock of {OWNER} was overwritten" in str(overwritten)
    assert "worked under claim 2, which is not there" in str(under_no_claim)


@pytest.mark.parametrize("fence", [0, 2, 7])
def test_a_fence_that_does_not_grow_by_one_is_found(history: History, fence: int) -> None:
    history.enqueue("a")
    history.claim("a", fence=fence)
    history.complete("a")
    assert f"fence 0 became {fence}" in one(history.judge())


def test_a_fence_that_grows_without_a_claim_is_found(history: History) -> None:
    history.enqueue("a")
    history.write(JOBS, "a", fence=1)
    history.claim("a")
    history.complete("a")
    assert "fence 0 became 1 without a claim" in one(history.judge())


def test_a_claim_of_what_is_not_due_yet_is_found(history: History) -> None:
    history.enqueue("a", nextRunAt=NOON + timedelta(hours=1))
    history.claim("a")
    history.complete("a")
    assert "claimed before it was due at 13:00" in one(history.judge())


def test_a_claim_of_what_has_ended_is_found(history: History) -> None:
    history.enqueue("a")
    history.claim("a")
    history.complete("a")
    history.write(JOBS, "a", status="running", lockToken="t", lockedBy=OWNER, fence=2)
    said = [str(each) for each in history.judge().violations]
    assert any("claimed although it was not due at any time" in each for each in said)
    assert any("had ended as completed, and changed to running" in each for each in said)


def test_an_end_by_another_token_is_found(history: History) -> None:
    history.enqueue("a")
    history.claim("a")
    history.complete("a", settledBy="token 0")
    assert "by a token that does not hold its lock" in one(history.judge())


@pytest.mark.parametrize("status", ["completed", "failed", "skipped"])
def test_an_end_that_no_claim_came_to_is_found(history: History, status: str) -> None:
    history.enqueue("a")
    history.write(JOBS, "a", "nextRunAt", status=status)
    assert f"became {status}, and nobody held its lock" in one(history.judge())


def test_what_is_cancelled_while_it_waits_needs_no_claim(history: History) -> None:
    history.enqueue("a")
    history.write(JOBS, "a", "nextRunAt", status="cancelled")
    assert history.judge().is_clean


def test_a_second_end_is_found(history: History) -> None:
    history.enqueue("a")
    history.claim("a")
    history.complete("a")
    history.write(JOBS, "a", status="failed", failedAt=NOON)
    assert "had ended as completed, and changed to failed" in one(history.judge())


def test_a_locked_document_that_is_removed_is_found(history: History) -> None:
    history.enqueue("a")
    history.claim("a")
    history.delete(JOBS, "a")
    assert "removed while it was locked" in one(history.judge())


def test_a_lock_that_ends_in_a_running_document_is_found(history: History) -> None:
    history.enqueue("a")
    history.claim("a")
    history.write(JOBS, "a", "lockToken")
    history.write(JOBS, "a", status="cancelled")
    assert "its lock was given up in status running" in one(history.judge())


@pytest.mark.parametrize("report", [{"progressData": {"current": 1}}, {"result": {"fence": 1}}])
def test_what_an_old_claim_reports_is_found(history: History, report: dict[str, Any]) -> None:
    history.enqueue("a")
    history.claim("a")
    history.retry("a")
    history.claim("a", attempt=1)
    history.write(JOBS, "a", **report)
    history.complete("a")
    assert "claim 2 h" in one(history.judge())


def test_progress_of_a_document_that_nobody_holds_is_found(history: History) -> None:
    history.enqueue("a", progressData={"current": 0})
    history.claim("a")
    history.complete("a")
    assert "reported while nobody held its lock" in one(history.judge())


def test_a_live_server_that_is_declared_dead_is_found(history: History) -> None:
    history.enqueue("a")
    history.claim("a")
    history.delete(SERVERS, OWNER)
    history.crash("a")
    history.claim("a")
    history.complete("a")
    assert "before the end of its lease, with 1 locks" in one(history.judge())
    assert history.judge(deaths=(Death(pid=7, at=NOON),)).is_clean
    assert not history.judge(deaths=(Death(pid=8, at=NOON),)).is_clean
    assert not history.judge(deaths=(Death(pid=7, at=NOON + LEASE),)).is_clean
    assert not history.judge(deaths=(Death(pid=7, at=NOON - LEASE),)).is_clean  # of a process before it


def test_a_lock_taken_from_a_server_whose_lease_lasts_is_found(history: History) -> None:
    history.enqueue("a")
    history.claim("a")
    history.crash("a")
    history.claim("a")
    history.complete("a")
    assert f"its lock was taken from {OWNER}" in one(history.judge())


def test_locks_may_be_taken_when_the_lease_or_the_lock_is_over(history: History) -> None:
    history.write(SERVERS, "here:8:bb", pid=8, leaseUntil=NOON)
    history.enqueue("a")
    history.claim("a", lockedBy="here:8:bb")
    history.crash("a")
    history.claim("a", lockUntil=NOON)
    history.crash("a")
    history.claim("a")
    history.complete("a")
    assert history.judge().is_clean, history.judge().violations


def test_too_many_attempts_and_crashes_are_found(history: History) -> None:
    history.enqueue("a")
    history.claim("a", attempt=2)
    history.complete("a")
    assert "attempt 2 of 1" in one(history.judge())
    history = History()
    history.enqueue("a", crashes=3)
    history.claim("a")
    history.complete("a")
    assert "claimed after 3 crashes" in one(history.judge())


def test_more_at_once_than_the_limit_allows_is_found(history: History) -> None:
    for id_ in ("a", "b"):
        history.enqueue(id_, name="limited")
    for id_ in ("a", "b"):
        history.claim(id_)
    for id_ in ("a", "b"):
        history.complete(id_)
    assert "2 at once, 1 allowed" in one(history.judge())


def test_two_active_documents_of_one_key_are_found_and_one_after_the_other_is_not(history: History) -> None:
    history.enqueue("a", data={"key": "k"})
    history.claim("a")
    history.complete("a")
    history.enqueue("b", data={"key": "k"})
    assert [str(each) for each in history.judge().violations if "active" in each.how] == []
    history.enqueue("c", data={"key": "k"})
    for id_ in ("b", "c"):
        history.claim(id_)
        history.complete(id_)
    assert all("2 active documents have the key k" in str(each) for each in history.judge().violations)
    assert not history.judge().is_clean


def test_a_claim_of_what_is_paused_is_found_once_everybody_should_know(history: History) -> None:
    history.write(CONFIGS, 1, jobName="job", concurrency=0)
    history.enqueue("a")
    history.claim("a")
    history.complete("a")
    assert history.judge(settled_at=NOON + timedelta(hours=1)).is_clean
    assert "while it is paused" in one(history.judge(settled_at=NOON))
    history.changes.insert(2, replace(history.changes[1], after={"jobName": "job"}))
    assert history.judge(settled_at=NOON).is_clean


def seconds(*skips: Skip, completed: Sequence[int]) -> Verdict:
    """A document that is due once a second, and these were completed."""
    history = History()
    history.enqueue("a", type="single")
    for second in completed:
        history.write(JOBS, "a", nextRunAt=NOON - timedelta(seconds=100 - second))
        history.claim("a", attempt=1)
        history.complete("a")
    return history.judge(skips=skips)


def test_an_occurrence_that_is_neither_run_nor_skipped_is_found() -> None:
    moment = NOON - timedelta(seconds=98)
    assert seconds(completed=[1, 2, 3]).is_clean
    assert "neither run nor recorded as skipped for 11:58:22" in one(seconds(completed=[1, 3]))
    assert seconds(Skip(id="a", at=moment), completed=[1, 3]).is_clean
    assert seconds(Skip(id="a", at=moment, until=NOON), completed=[1, 5]).is_clean
    assert not seconds(Skip(id="b", at=moment), completed=[1, 3]).is_clean


def test_a_run_for_a_moment_between_two_seconds_is_found() -> None:
    moment = NOON - timedelta(seconds=98.5)
    history = History()
    history.enqueue("a", type="single", nextRunAt=moment)
    history.claim("a")
    history.complete("a")
    assert "run for 11:58:21.500000, which is no moment of its schedule" in one(history.judge())


def test_an_occurrence_that_is_completed_twice_is_found() -> None:
    assert "completed a second time for 11:58:21" in one(seconds(completed=[1, 1]))


def test_an_end_without_work_and_work_without_a_claim_are_found(history: History) -> None:
    history.enqueue("a")
    history.claim("a")
    history.complete("a", work=False)
    assert "claim 1 was completed, and its work was not done" in one(history.judge())
    history.work("a", 1, Sign.BEGIN)
    assert "claim 1 was completed, and its work was not done" in one(history.judge())
    history.work("a", 1)
    history.work("a", 2, Sign.BEGIN)
    assert "worked under claim 2, which is not there" in one(history.judge())


def test_executions_in_processes_that_overlap_are_found(history: History) -> None:
    history.enqueue("a")
    history.claim("a")
    history.crash("a")
    history.claim("a", lockUntil=NOON)
    history.complete("a")
    history.work("a", 1, Sign.BEGIN, Sign.BEAT, Sign.BEAT, at=10.0)
    history.work("a", 2, at=10.15)
    fine = history.judge(deaths=(Death(pid=7, at=NOON),))
    assert fine.is_clean, fine.violations
    for number, step in enumerate(history.steps):
        history.steps[number] = replace(step, is_process=step.clock >= 10.0)
    said = [str(each) for each in history.judge(deaths=(Death(pid=7, at=NOON),)).violations]
    assert any("claim 2 began 0.050 s before claim 1 had ended" in each for each in said), said


def test_a_run_that_overlaps_with_its_successor_is_found_where_its_server_was_not_still(history: History) -> None:
    history.enqueue("a")
    history.claim("a")
    history.crash("a")
    history.claim("a", lockUntil=NOON)
    history.complete("a", work=False)
    history.work("a", 1, Sign.BEGIN, at=100.0)
    history.work("a", 2, at=109.0)
    history.work("a", 1, Sign.END, at=109.05)
    died = (Death(pid=7, at=NOON),)
    assert history.judge(deaths=died).is_clean, history.judge(deaths=died).violations
    history.enqueue("b")
    history.claim("b")
    history.complete("b", work=False)
    history.work("b", 1, at=108.5)
    assert "claim 2 began 0.050 s before claim 1 ended, whose server lived" in one(history.judge(deaths=died))


def a_proof(verdict: Verdict, *faults: Kind, accepted: int = 2_000) -> Proof:
    """A short run that came to this verdict."""
    happened = tuple(Fault(kind=kind, at=NOON, until=NOON) for kind in faults)
    nothing = Recovery(supervised=Spread(), host_lost=Spread(), primary_killed=Spread())
    return Proof(
        plan=SHORT,
        verdict=verdict,
        faults=happened,
        recovery=nothing,
        disturbed=nothing,
        accepted=accepted,
        refused=0,
        exit_codes={"first": 0},
        hitches=(),
        seconds=1.0,
    )


def test_a_run_in_which_nothing_has_happened_proves_nothing() -> None:
    nothing = check([], [], Outside())
    assert nothing.is_clean
    assert set(nothing.judged.values()) == {0}
    proof = a_proof(nothing, accepted=100)
    assert not proof.holds
    assert {"0 faults, not 20", "100 jobs, not 2000"} < set(proof.lacks)
    assert "nothing was judged: nothing is accepted with an old token" in proof.lacks
    assert len(missed(proof)) == 3


def test_a_run_that_has_judged_everything_and_broken_enough_holds() -> None:
    clean = check([], [], Outside())
    judged = replace(clean, judged=dict.fromkeys(clean.judged, 1))
    assert a_proof(judged, *[Kind.RESET] * 20).holds
    assert not a_proof(replace(judged, counted={"a promise": 1}), *[Kind.RESET] * 20).holds


def test_what_a_run_came_to_is_told_to_people_and_to_programs(history: History) -> None:
    history.enqueue("a")
    history.claim("a")
    proof = a_proof(history.judge("a"), Kind.RESET, accepted=1)
    told = json.loads(json.dumps(document(proof)))
    assert (told["holds"], told["accepted"], told["faults"]) == (False, 1, {Kind.RESET: 1})
    assert told["judged"]["claims never overlap, fences grow by one"] == 1
    assert told["tooLittle"] == proof.lacks
    shown = "\n".join(lines(proof))
    assert "too little: 1 faults, not 20" in shown
    assert f"was left locked by {OWNER}" in shown or "was left running" in shown


def test_every_rule_counts_what_it_has_judged(history: History) -> None:
    history.write(CONFIGS, 1, jobName="paused", concurrency=0)
    history.enqueue("x", name="paused", nextRunAt=NOON)
    history.enqueue("a", name="limited", data={"key": "k"})
    history.claim("a", name="limited")
    history.crash("a")
    history.claim("a", progressData={"current": 2})
    history.complete("a")
    history.enqueue("b", type="single")
    history.claim("b", name="job")
    history.complete("b")
    history.work("b", 1, is_process=True)
    history.work("a", 1)
    assert all(history.judge("a", settled_at=NOON).judged.values()), history.judge("a", settled_at=NOON).judged


def test_recovery_counts_from_the_kill_to_the_next_claim_of_what_was_held(history: History) -> None:
    for id_ in ("a", "b", "c"):
        history.enqueue(id_)
        history.claim(id_)
    killed = history.changes[-1].at
    history.complete("a")
    history.crash("b")
    history.claim("b")
    fault = Fault(kind=Kind.WORKER_KILLED, at=killed + timedelta(seconds=0.5), until=killed, pids=(7,))
    assert recovery(history.changes, [fault]).supervised.lengths == (2.5,)


def test_documents_are_put_together_from_their_differences() -> None:
    events: list[dict[str, Any]] = [
        {"operationType": "insert", "fullDocument": {"_id": 1, "a": {"b": [1, 2, 3]}, "c": 1}},
        {
            "operationType": "update",
            "updateDescription": {
                "updatedFields": {"a.b.0": 9, "d": {"e": 1}},
                "removedFields": ["c"],
                "truncatedArrays": [{"field": "a.b", "newSize": 2}],
            },
        },
        {"operationType": "update", "updateDescription": {"updatedFields": {"d.f": 2}, "removedFields": ["a.b"]}},
        {"operationType": "delete"},
    ]
    told = [{**event, "collection": JOBS, "documentKey": {"_id": 1}, "wallTime": NOON} for event in events]
    found = list(put_together(told))
    assert [change.after for change in found] == [
        {"_id": 1, "a": {"b": [1, 2, 3]}, "c": 1},
        {"_id": 1, "a": {"b": [9, 2]}, "d": {"e": 1}},
        {"_id": 1, "a": {}, "d": {"e": 1, "f": 2}},
        {},
    ]
    assert [change.before for change in found[1:]] == [change.after for change in found[:-1]]
