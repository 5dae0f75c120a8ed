"""Carries every act out on the real stores and on the model, and looks whether both came to the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, assert_never
from uuid import uuid4

from jobserver.store import tasks
from jobserver.store.arming import Arming
from jobserver.store.claims import Claim as Locked
from jobserver.store.claims import ClaimStore
from jobserver.store.documents import ClaimedJob, ErrorRecord, Lane, ProgressReport, Settlement
from jobserver.store.enqueue import Request
from jobserver.store.expressions import from_now
from jobserver.store.states import Transition
from jobserver.store.tasks import TaskRequest
from tests.model import acts, model
from tests.model.acts import LIMITED, LONG, TICK, Act, End, Lost
from tests.model.bench import Bench, now
from tests.model.model import INTERVAL, Claimed, Job, Kind, Model
from tests.model.reaping import Reaping, held_by
from tests.model.watch import Watch, compared

SERVERS = 3
MOST_AT_ONCE = 1000
REASON = "it broke"


@dataclass(slots=True)
class Server:
    """One that claims: under which id it is registered now, and whether it stands still."""

    id: str
    number: int
    store: ClaimStore
    is_paused: bool = False
    has_collided: bool = False
    pid: int = 0


@dataclass(slots=True)
class World:
    """One example: `perform` acts until something differs. Raises AssertionError that says what."""

    bench: Bench
    model: Model = field(default_factory=Model)
    servers: list[Server] = field(default_factory=list)
    claims: list[tuple[ClaimedJob, Claimed]] = field(default_factory=list)
    watch: Watch = field(default_factory=Watch)
    limit: int = 2
    enabled: bool = True
    schedule: str = "a"
    _meanwhile: list[Act] = field(default_factory=list)
    _registered: int = 0
    _backup: tuple[int, dict[Any, Job], dict[Any, dict[str, Any]]] | None = None

    def __post_init__(self) -> None:
        self.bench.clear()
        self.bench.configure(TICK, self.schedule)
        for number in range(SERVERS):
            server = Server("", number, self.bench.claims(self._claim_gate))
            self.servers.append(server)
            self._register(server)

    def perform(self, act: Act, *meanwhile: Act) -> None:
        """Carry it out and compare; what comes `meanwhile` comes before the command that decides it."""
        self._meanwhile = list(meanwhile)
        self.bench.run(self._perform_all(act))
        self.compare()

    def compare(self) -> None:
        """What MongoDB has against what the model says."""
        stored, leases = self.bench.stored()
        compared(stored, self.model, leases)
        self.watch.look(stored, limits={LIMITED: self.limit})

    async def _perform_all(self, act: Act) -> None:
        await self._perform(act)
        await self.pass_gate()  # where there was nothing to come between

    async def _perform(self, act: Act) -> None:  # noqa: PLR0912 - one branch per act
        match act:
            case acts.Enqueue():
                await self._enqueue(act)
            case acts.Claim():
                await self._claim(act)
            case acts.Settle():
                await self._settle(act)
            case acts.Touch():
                await self._touch(act)
            case acts.Renew():
                self._renew(self.servers[act.server])
            case acts.GiveBack():
                await self._give_back(self.servers[act.server])
            case acts.Crash():
                self._crash(self.servers[act.server], seen=act.seen)
            case acts.Pause():
                self.servers[act.server].is_paused ^= True
            case acts.Reap():
                await self._reap(act)
            case acts.Cancel():
                await self._cancel(act)
            case acts.CancelRun():
                await self._cancel_run(act)
            case acts.Withdraw():
                await self._withdraw(act.name)
            case acts.Revive():
                self._revive(act)
            case acts.Edit():
                self._edit(act)
            case acts.Converge():
                await self._converge(act)
            case acts.Limit():
                self.limit = act.most
            case acts.Jump():
                self._jump(act.minutes)
            case acts.Save():
                self._backup = (self.model.now, deepcopy(self.model.jobs), self.bench.stored()[0])
            case acts.Restore():
                self._restore()
            case _:
                assert_never(act)

    # clients

    async def _enqueue(self, act: acts.Enqueue) -> None:
        desk = self.bench.queue.desk
        if act.recurs:
            asked = TaskRequest(
                name=act.name, priority=act.priority, unique_key=act.key, recurrence=timedelta(minutes=INTERVAL)
            )
            task = await self.bench.queue.carry_out(tasks.schedule(desk, asked, None))
            self._asked_for(act, [task.id])
            return
        asked = Request(
            name=act.name,
            priority=act.priority,
            unique_key=act.key,
            delay=timedelta(minutes=act.delay) if act.delay else None,
        )
        found = await asyncio.gather(*(self.bench.queue.add([asked]) for _ in range(act.together)))
        self._asked_for(act, [id_ for ids in found for id_ in ids])

    def _asked_for(self, act: acts.Enqueue, ids: list[Any]) -> None:
        for id_ in ids:
            there = None if act.key is None else self.model.active(act.name, act.key)
            if there is not None:
                assert id_ == there, f"{act} was given {id_}, which is not the active one {there}"
                continue
            assert id_ not in self.model.jobs, f"{act} was given {id_}, which was there"
            delay = INTERVAL if act.recurs else act.delay
            self.model.jobs[id_] = Job(
                name=act.name,
                kind=Kind.TASK if act.recurs else Kind.ONCE,
                priority=act.priority,
                key=act.key,
                due=self.model.now + delay,
                status=model.Status.SCHEDULED if delay else model.Status.QUEUED,
            )

    async def _cancel(self, act: acts.Cancel) -> None:
        asked = [id_ for id_, job in self.model.jobs.items() if job.kind is not Kind.HOLDER]
        if not asked:
            return
        id_ = asked[act.which % len(asked)]
        await self.bench.queue.carry_out(tasks.cancel(self.bench.queue.desk, id_, None))
        job = self.model.jobs[id_]
        if job.is_live:
            job.asked_to_stop = job.token
            self.model.withdraw(job)

    async def _cancel_run(self, act: acts.CancelRun) -> None:
        if not self.claims:
            return
        run, claimed = self._claimed(act.which)
        was_under_way = await self.bench.queue.carry_out(tasks.cancel_run(self.bench.queue.desk, run.run_id, None))
        job = self.model.jobs.get(claimed.id)
        # By its number: after a restore another claim may have the same.
        runs = job is not None and job.token is not None and job.fence == run.fence
        assert was_under_way == runs, f"{run.run_id} was under way: {was_under_way}, and should be {runs}"
        if runs:
            job.asked_to_stop = job.token
        wanted = {
            f"{id_}:{each.fence}"
            for id_, each in self.model.jobs.items()
            if each.asked_to_stop and each.owner == claimed.owner
        }
        assert set(await self.bench.jobs.cancel_requests(owner=claimed.owner)) == wanted

    async def _withdraw(self, name: str) -> None:
        count = await self.bench.jobs.withdraw_all(name, reason="gone")
        live = [job for job in self.model.jobs.values() if job.name == name and job.is_live]
        assert count <= len(live), f"{count} were withdrawn of {len(live)}"
        for job in live:
            self.model.withdraw(job)
            job.schedule = None

    # servers

    async def _claim(self, act: acts.Claim) -> None:
        server = self.servers[act.server]
        if server.is_paused:
            return
        exactly = not (act.ahead or self._meanwhile or server.has_collided)
        before = {id_: job for id_, job in self.model.jobs.items() if self.model.can_be_claimed(job)}
        lanes, token = [self._lane(name) for name in act.names], uuid4().hex
        owner = server.id
        claim = await server.store.lock(lanes, limit=act.limit, token=token, owner=owner, ahead=act.ahead)
        # For a while it then keeps to its share of what is due.
        server.has_collided |= claim.locked < len(claim.candidates)
        jobs = await (server.store.verify(claim) if act.in_doubt else server.store.read(claim))
        if exactly:
            self._is_best(act, {job.id for job in jobs}, before)
        for job in jobs:
            self._claimed_one(job, claim, owner)

    def _claimed_one(self, job: ClaimedJob, claim: Locked, owner: str) -> None:
        longest = model.LONGEST_RUN if job.name == LONG else None
        if job.token != claim.token:
            raise AssertionError(f"{job} is not of the claim {claim.token}")
        self.model.claim(job.id, token=job.token, owner=owner, longest=longest)
        mine = self.model.jobs[job.id]
        assert (job.fence, job.attempt) == (mine.fence, mine.attempt), f"{job} is told other numbers than {mine}"
        assert job.recurring == mine.recurs
        self.claims.append((job, Claimed(id=job.id, token=job.token, owner=owner, scheduled_for=mine.scheduled_for)))

    def _is_best(self, act: acts.Claim, claimed: set[Any], before: dict[Any, Job]) -> None:
        """As many as there is room for, and nothing more urgent was left behind."""
        room = dict.fromkeys(act.names, act.limit)
        if LIMITED in room:
            running = sum(job.token is not None for job in self.model.jobs.values() if job.name == LIMITED)
            room[LIMITED] = min(act.limit, max(0, self.limit - running))
        mine = [before[id_] for id_ in claimed if id_ in before]
        assert len(mine) == len(claimed), f"{act} has claimed what was not due"
        possible = {name: sum(job.name == name for job in before.values()) for name in room}
        most = min(act.limit, sum(min(room[name], possible[name]) for name in room))
        assert len(mine) == most, f"{act} has claimed {len(mine)}, and there was work and room for {most}"
        last = max((_urgency(job) for job in mine), default=None)
        for id_, job in before.items():
            if id_ in claimed or job.name not in room:
                continue
            has_room = sum(each.name == job.name for each in mine) < room[job.name]
            in_lane = max((_urgency(each) for each in mine if each.name == job.name), default=None)
            bound = last if has_room else in_lane
            assert bound is None or _urgency(job) >= bound, f"{act} has left {job} behind, which was more urgent"

    async def _settle(self, act: acts.Settle) -> None:
        ends: dict[str, tuple[Settlement, Claimed, End]] = {}
        for end in act.ends:
            if self.claims:
                run, claimed = self._claimed(end.which)
                if not self._stands_still(claimed.owner):
                    ends.setdefault(claimed.token + str(claimed.id), (self._settlement(run, end), claimed, end))
        if not ends:
            return
        settlements = [settlement for settlement, _, _ in ends.values()]
        lost = await self.bench.jobs.settle(settlements)
        for _, claimed, end in ends.values():
            if self.model.settle(claimed, end.transition, is_last=end.is_last):
                self.watch.accepted(claimed)
        # Afterwards: the end of a later claim, in the same batch, hides that of an earlier one.
        known = self.model.is_known_to_have_settled
        unknown = [settlement for settlement, claimed, end in ends.values() if not known(claimed, end.transition)]
        assert lost == unknown, (
            f"lost are {[each.job.run_id for each in lost]}, not {[each.job.run_id for each in unknown]}"
        )
        if act.again:
            assert await self.bench.jobs.settle(settlements) == lost

    async def _touch(self, act: acts.Touch) -> None:
        if not self.claims:
            return
        run, claimed = self._claimed(act.which)
        if self._stands_still(claimed.owner):
            return
        report = ProgressReport(total=4, current=1, message=None) if act.report else None
        lifetime = timedelta(minutes=model.LOCK_LIFETIME)
        kept = await self.bench.jobs.touch(run, lock_lifetime=lifetime, report=report)
        assert kept == self.model.touch(claimed), (
            f"{run.run_id} was told that its lock is {'' if kept else 'not '}there"
        )

    async def _give_back(self, server: Server) -> None:
        if server.is_paused:
            return
        held = [job for job in self.model.jobs.values() if job.owner == server.id]
        assert await self.bench.jobs.release(owner=server.id) == len(held)
        for job in held:
            self.model.release(job)

    def _renew(self, server: Server) -> None:
        if server.is_paused:
            return
        kept = self.bench.servers.renew(server.id, {}) is not None
        assert kept == (server.id in self.model.leases), f"the lease of {server.id} was there: {kept}"
        if kept:
            self.model.leases[server.id] = self.model.now + model.LEASE
        else:
            self._register(server)

    def _crash(self, server: Server, *, seen: bool) -> None:
        if seen:
            is_registered = server.id in self.model.leases
            reaper = self.bench.locks(lambda _name, _which: None, lambda _name: None)
            taken = reaper.reap_process(supervisor="boss", pid=server.pid, reason="it is gone")
            assert reaper.sign_off(supervisor="boss", pids=[server.pid]) == 0
            which = held_by(server.id)
            locks = self.model.locks(which) if is_registered else []
            self.model.leases.pop(server.id, None)
            assert {(job.id, job.token) for job in taken} == self.model.take_back(locks, which, self.model.crash)
        server.store = self.bench.claims(self._claim_gate)
        server.is_paused = False
        self._register(server)

    async def _reap(self, act: acts.Reap) -> None:
        reaping = Reaping(self.model, act, asyncio.get_running_loop(), self.pass_gate)
        locks = self.bench.locks(reaping.gate, reaping.after)
        look = {Lost.DEAD: locks.reap_dead_servers, Lost.STUCK: locks.reap_stuck, Lost.OVERDUE: locks.fail_overdue}
        lost = [] if self._meanwhile else reaping.all_lost()
        # In a thread: what comes meanwhile needs the event loop.
        taken = await asyncio.to_thread(look[act.why])
        found = {(job.id, job.token) for job in taken}
        assert reaping.taken <= found <= reaping.may_be_told(), f"{act} took back {found}, not {reaping.taken}"
        assert reaping.taken >= set(lost), f"{act} has left some of {lost}"

    def _register(self, server: Server) -> None:
        self._registered += 1
        server.id, server.pid = f"server {server.number}.{self._registered}", self._registered
        self.bench.register(server.id, server.pid)
        self.model.leases[server.id] = self.model.now + model.LEASE

    # people

    def _revive(self, act: acts.Revive) -> None:
        if not self.model.jobs:
            return
        id_ = list(self.model.jobs)[act.which % len(self.model.jobs)]
        assert self.bench.editor.revive([id_]) == self.model.revive(self.model.jobs[id_])

    def _edit(self, act: acts.Edit) -> None:
        if act.enabled is not None:
            assert self.bench.editor.enable(TICK, enabled=act.enabled) == (self.enabled != act.enabled)
            self.enabled = act.enabled
        if act.schedule is not None:
            self.bench.editor.schedule(TICK, {"value": act.schedule})
            self.schedule = act.schedule

    async def _converge(self, act: acts.Converge) -> None:
        config = self.bench.configured(TICK)
        key = config["schedule"]["value"]
        assert (config["enabled"], key) == (self.enabled, self.schedule)
        arming = Arming(
            key=key,
            first=from_now(timedelta(minutes=INTERVAL)),
            recurs=True,
            enabled=config["enabled"],
            priority=0,
            afresh=act.afresh,
        )
        await asyncio.gather(*(self.bench.jobs.arm(TICK, arming, create=True) for _ in range(act.together)))
        holder = self.model.holder(TICK)
        if holder is None:
            stored, *others = self.bench.place.jobs.find({"name": TICK, "type": "single"}, {"_id": 1})
            assert not others, f"{TICK} has several holders"
            holder = self.model.jobs[stored["_id"]] = Job(name=TICK, kind=Kind.HOLDER, status=model.Status.SCHEDULED)
        first = self.model.now + INTERVAL
        self.model.arm(holder, key, first, enabled=self.enabled, afresh=act.afresh)

    # time

    def _jump(self, minutes: int) -> None:
        self.bench.jump(minutes)
        self.model.now += minutes
        for run, _ in self.claims:  # servers remember moments, too
            run.scheduled_at -= timedelta(minutes=minutes)

    def _restore(self) -> None:
        if self._backup is None:
            return
        then, backup, documents = self._backup
        self.bench.restore(documents, age=self.model.now - then)
        self.model.jobs = deepcopy(backup)
        self.watch = Watch(Counter(each["name"] for each in documents.values() if "lockToken" in each))

    # what comes meanwhile

    async def _claim_gate(self, _name: str, _which: dict[str, Any]) -> None:
        await self.pass_gate()

    async def pass_gate(self) -> None:
        """Whatever comes meanwhile comes now, and once."""
        coming, self._meanwhile = self._meanwhile, []
        for act in coming:
            await self._perform(act)

    def _lane(self, name: str) -> Lane:
        return Lane(
            name=name,
            limit=MOST_AT_ONCE,
            lock_lifetime=timedelta(minutes=model.LOCK_LIFETIME),
            global_limit=self.limit if name == LIMITED else None,
            longest_run=timedelta(minutes=model.LONGEST_RUN) if name == LONG else None,
        )

    def _claimed(self, which: int) -> tuple[ClaimedJob, Claimed]:
        return self.claims[-1 - which % len(self.claims)]

    def _stands_still(self, owner: str) -> bool:
        return any(server.is_paused and server.id == owner for server in self.servers)

    def _settlement(self, run: ClaimedJob, end: End) -> Settlement:
        goes_on = run.recurring and not end.is_last and end.transition not in (Transition.RETRY, Transition.RELEASE)
        return Settlement(
            job=replace(run),
            transition=end.transition,
            duration=timedelta(milliseconds=5),
            error=ErrorRecord(message=REASON),
            next_run_at=now() + timedelta(minutes=INTERVAL) if goes_on else None,
            retry_in=timedelta(minutes=model.RETRY_IN),
            reason=REASON,
        )


def _urgency(job: Job) -> tuple[int, int]:
    return (-job.priority, job.due or 0)
