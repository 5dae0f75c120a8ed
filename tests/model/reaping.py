"""A reaper's decisions, followed in the model: whose lease is over, and which of the locks it saw are still those."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tests.model.acts import Lost, Reap
from tests.model.model import Job, Lock, Model, Which


class Reaping:
    """Called before and after each command by which the real one decides."""

    def __init__(
        self,
        model: Model,
        act: Reap,
        loop: asyncio.AbstractEventLoop,
        meanwhile: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self.taken: set[Lock] = set()
        self._model, self._act, self._loop, self._meanwhile = model, act, loop, meanwhile
        self._seen: list[Lock] = []
        self._all_seen: list[Lock] = []
        self._which: Which = _nothing
        self._owner = ""

    def all_lost(self) -> list[Lock]:
        """Every lock that a look now has to take back."""
        return self._model.locks(self._is_lost)

    def may_be_told(self) -> set[Lock]:
        """What it took back, and what another has in the same moment: both write it down, and it counts once."""
        jobs = self._model.jobs
        return self.taken | {(id_, token) for id_, token in self._all_seen if jobs[id_].crashed_token == token}

    def gate(self, name: str, which: dict[str, Any]) -> None:
        """Before a command: see what the real one has seen, then let come what comes meanwhile."""
        if name == "delete_one":
            self._owner = which["_id"]
            if not self._act.late:
                self._let_come()
            return
        self._which = self._is_lost
        if self._act.why is Lost.DEAD:
            owner = which.get("lockedBy", self._owner)
            assert not self._model.is_alive(owner), f"the locks of {owner}, which lives, are taken back"
            self._which = held_by(owner)
        self._seen = self._model.locks(self._which)
        self._all_seen += self._seen
        self._let_come()

    def after(self, name: str) -> None:
        """It is carried out: so it is in the model."""
        if name == "delete_one":
            if not self._model.is_alive(self._owner):
                self._model.leases.pop(self._owner, None)
            return
        end = self._model.overrun if self._act.why is Lost.OVERDUE else self._model.crash
        self.taken |= self._model.take_back(self._seen, self._which, end)

    def _is_lost(self, job: Job) -> bool:
        match self._act.why:
            case Lost.DEAD:
                return job.owner is not None and not self._model.is_alive(job.owner)
            case Lost.STUCK:
                return self._model.is_stuck(job)
            case Lost.OVERDUE:
                return self._model.is_overdue(job)

    def _let_come(self) -> None:
        asyncio.run_coroutine_threadsafe(self._meanwhile(), self._loop).result()


def held_by(owner: str) -> Which:
    """What this server has locked."""
    return lambda job: job.owner == owner


def _nothing(_job: Job) -> bool:
    return False
