"""What may happen, each as a value: a machine draws them, a test that keeps a finding spells them out.

`which` counts through what there is to choose from, and begins again at its end. Lengths are minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from jobserver.store.states import Transition

PLAIN, LIMITED, LONG, TICK = "plain", "limited", "long", "tick"
NAMES = (PLAIN, LIMITED, LONG, TICK)


class Lost(StrEnum):
    """Why a lock is taken back."""

    DEAD = "its server is dead"
    STUCK = "no sign of life"
    OVERDUE = "over its longest time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueue:
    """A client asks for a run; `together` of them ask at once, with `recurs` for a task with a recurrence."""

    name: str = PLAIN
    key: str | None = None
    priority: int = 0
    delay: int = 0
    together: int = 1
    recurs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A server claims; `ahead` from what it has read before, `in_doubt` after an answer that was lost."""

    server: int = 0
    limit: int = 1
    names: tuple[str, ...] = NAMES
    ahead: bool = False
    in_doubt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How the run of one claim ends; `which` counts all claims that there ever were, the newest first."""

    which: int = 0
    transition: Transition = Transition.COMPLETE
    is_last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Servers store these ends in one command; `again` once more, as after an answer that was lost."""

    ends: tuple[End, ...]
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """A run gives a sign of life, or reports progress."""

    which: int = 0
    report: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """A server renews its lease, and registers anew where that is gone."""

    server: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBack:
    """A server gives back whatever it holds."""

    server: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """A server is gone and another one starts; its supervisor has `seen` it, or nobody has."""

    server: int = 0
    seen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A server stands still, or goes on; what it was about to do it does then."""

    server: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reap:
    """Locks that are lost for this reason are taken back; `late` is when the meanwhile comes, as late as it may."""

    why: Lost
    late: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """A client cancels a document: it will not run again."""

    which: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRun:
    """A client cancels one run and nothing after it."""

    which: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """A program takes a job away with all that waits of it."""

    name: str = PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Revive:
    """A person gives a document one more go."""

    which: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A person changes the configuration of the job with a schedule; None leaves it."""

    enabled: bool | None = None
    schedule: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Converge:
    """A server brings that configuration into force; `afresh` because its code is new."""

    afresh: bool = False
    together: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """From now on this many of the limited job may run everywhere."""

    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """The clock of the database jumps, or time passes."""

    minutes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """A backup is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """The last backup takes the place of everything."""


Act = (
    Enqueue
    | Claim
    | Settle
    | Touch
    | Renew
    | GiveBack
    | Crash
    | Pause
    | Reap
    | Cancel
    | CancelRun
    | Withdraw
    | Revive
    | Edit
    | Converge
    | Limit
    | Jump
    | Save
    | Restore
)
