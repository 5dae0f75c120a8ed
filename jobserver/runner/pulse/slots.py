"""How many of this server's `available_slots` are in use: from the claim until the run's code has ended.

A claim reserves what its candidates asked for. Once it is read back the documents themselves decide: each run takes
its slots, or its document goes back to the queue. Without a limit nothing is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from jobserver.store.admission import Admission, Line, slots_of
from jobserver.store.documents import ClaimedJob, Lane


class ServerSlots:
    """Counts; `available` None is no limit."""

    def __init__(self, *, available: int | None, line: Line) -> None:
        self.available = available
        self.used = 0
        self._line = line

    @property
    def free(self) -> int:
        """How many are left of a limit."""
        return max(0, (self.available or 0) - self.used)

    @property
    def are_all_used(self) -> bool:
        """Whether not even the smallest run has room."""
        return self.available is not None and self.free == 0

    def admission(self, lanes: Sequence[Lane]) -> Admission | None:
        """For the next claim; None without a limit."""
        if self.available is None:
            return None
        return Admission(available=self.available, free=self.free, lanes=lanes, line=self._line)

    def reserve(self, slots: int) -> None:
        """A claim was sent for documents that asked for so many."""
        self.used += slots

    def release(self, slots: int) -> None:
        """That claim is read back."""
        self.used -= slots

    def take(self, job: ClaimedJob, *, usual: int) -> bool:
        """As many as the document asks for now: a hand may have changed it meanwhile. False: no room."""
        if self.available is None:
            return True
        needs = slots_of(job.document.get("slots")) or usual
        if needs > self.free:
            return False
        self.used += needs
        job.slots = needs
        return True

    def give_back(self, job: ClaimedJob) -> None:
        """Whatever it has taken; a second time is harmless."""
        self.used -= job.slots
        job.slots = 0
