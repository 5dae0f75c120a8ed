"""Many cases, with progress shown; for a person or a nightly run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from random import Random

from tests.oracle.compare import ZONES, Difference, cases, rare_days, windows
from tests.oracle.strings import Slowest, judged_in, string

CASES_PER_WINDOW = 25
LONGEST_JUDGEMENT = 0.05
"""Seconds; what takes longer, and does so three times, is too slow."""

MOST_SHOWN = 20


def compare_cases(count: int, seed: int) -> int:
    """Compare so many (text, zone, change, policy) with the walk; returns how many differ."""
    random, differences, done = Random(seed), list[Difference](), 0
    show = _progress(count)
    for window in windows(random, ZONES):
        found = [each for each in cases(random, window, CASES_PER_WINDOW) if each is not None]
        found += [each for each in (rare_days(random) for _ in range(2)) if each is not None]
        for difference in found[: MOST_SHOWN - len(differences)]:
            _say(f"\n{difference}")
        differences += found
        done += CASES_PER_WINDOW
        show(done, f"{len(differences)} differences")
        if done >= count:
            break
    _say(f"\n{done} cases, {len(differences)} differences (seed {seed})\n")
    return len(differences)


def throw_strings(count: int, seed: int) -> int:
    """Judge so many strings; returns how many raised something else than ScheduleError, or took too long."""
    random, slowest, wrong = Random(seed), Slowest(0.0, ""), 0
    show = _progress(count)
    judged_in("* * * * *", "Europe/Berlin")  # loads what is loaded once
    for done in range(1, count + 1):
        text, zone = string(random), random.choice(("UTC", "Europe/Berlin", "Australia/Lord_Howe"))
        try:
            seconds = judged_in(text, zone)
            if seconds > slowest.seconds:  # or the machine was busy
                seconds = min(seconds, *(judged_in(text, zone) for _ in range(2)))
        except Exception as error:
            wrong += 1
            _say(f"\n{text!r} in {zone}: {error!r}\n")
            continue
        wrong += seconds > LONGEST_JUDGEMENT
        slowest = max(slowest, Slowest(seconds, text))
        if done % 5000 == 0:
            show(done, f"slowest {slowest.seconds * 1000:.1f} ms")
    _say(f"\n{count} strings, {wrong} wrong, the slowest took {slowest.seconds * 1000:.1f} ms: {slowest.text!r}\n")
    return wrong


def _progress(count: int) -> Callable[[int, str], None]:
    began = time.monotonic()

    def show(done: int, state: str) -> None:
        """One line that changes; where nobody watches, a line for each tenth."""
        if not sys.stderr.isatty() and done % (count // 10 or 1):
            return
        end = "" if sys.stderr.isatty() else "\n"
        _say(f"\r{done:>9} of {count}, {state}, {done / (time.monotonic() - began):.0f}/s   {end}")

    return show


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
