"""Why words are no schedule: what was understood up to where, what is wrong there, and the nearest form that is one."""

from __future__ import annotations

from jobserver.errors import ScheduleError
from jobserver.excerpt import excerpt

FORMS = (
    *("every minute", "every 5 minutes", "every 1.5 hours", "every 30 seconds", "every 2 days", "every hour"),
    *("hourly", "daily", "weekly", "monthly", "yearly", "at 17:00", "at 5:00 pm", "at noon", "at 9:00 and 17:00"),
    *("every day at 9:00", "every weekday at 9:00", "every weekend at 10:00", "every monday at 9:00"),
    *("weekdays at 9:00", "on mondays at 9:00", "on mon, wed and fri at 9:00", "on monday through friday at 9:00"),
    *("at 9:00 on the 1st and 15th day of the month", "at 17:00 on the last day of the month"),
    *("on the first monday of the month at 10:00", "on the last friday of the month at 17:00"),
    *("every 15 minutes on weekdays", "every 15 minutes between 8:00 and 17:00", "every hour on the 30th minute"),
    *("every 15 minutes starting on the 4th minute", "every 5 minutes after 22:00", "every 5 minutes before 6:00"),
    *("at 9:00 of jan", "at 9:00 in 2027", "on december 24 at 12:00", "on the 100th day of the year at 9:00"),
    *("every day at 9:00 except on weekends", "at 9:00 also at 17:30 on fridays", "weekly on monday at 9:00"),
    "every weekday at 10:00",
)
"""What a refusal offers: the nearest of these."""

_ALIKE = 0.2


class Misunderstood(Exception):
    """Internal: the reason at a place in the text.

    `instead` is the form to offer where there is a sure one; `corrected` the text without a misspelling.
    """

    def __init__(self, reason: str, *, at: int | None = None, instead: str = "", corrected: str = "") -> None:
        super().__init__(reason)
        self.reason, self.at, self.instead, self.corrected = reason, at, instead, corrected


def refusal(text: str, error: Misunderstood) -> ScheduleError:
    """The error for a person."""
    understood = "" if error.at is None else text[: error.at].strip(" ,")
    so_far = f"understood {excerpt(understood)}, then: " if understood else ""
    instead = error.instead or _nearest_form(error.corrected or text)
    return ScheduleError(f"{excerpt(text)}: {so_far}{error.reason}; write for example {instead!r}")


def _nearest_form(text: str) -> str:
    """The one that shares most of its words."""
    words = set(text.split())
    shared = {form: len(words & set(form.split())) / len(words | set(form.split())) for form in FORMS}
    nearest = max(shared, key=lambda form: shared[form])
    return nearest if shared[nearest] >= _ALIKE else FORMS[-1]
