"""The schedule against a walk through real time, and against random strings: the short forms of `tests.oracle`."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from tests.oracle.compare import ZONES, cases, compare, rare_days, windows
from tests.oracle.meaning import Meaning
from tests.oracle.strings import judged_in, string
from tests.oracle.walk import DAY, HOUR, MINUTE, POLICIES, Window, changes, fires

OFTEN_ODD = (
    *("UTC", "America/New_York", "Europe/Berlin", "Europe/Dublin", "Australia/Lord_Howe", "Pacific/Chatham"),
    *("Antarctica/Troll", "Africa/Casablanca", "Pacific/Apia", "America/St_Johns", "America/Scoresbysund"),
    *("America/Sao_Paulo", "America/Havana", "America/Santiago", "Africa/Cairo", "Asia/Beirut"),  # around midnight
)


@pytest.mark.parametrize("zone", OFTEN_ODD)
def test_the_fires_are_those_that_a_walk_through_real_time_finds(zone: str) -> None:
    random = Random(zone)
    for window in islice(windows(random, [zone]), 4):
        assert [str(each) for each in cases(random, window, 25) if each is not None] == []


def test_the_fires_are_the_same_in_any_zone() -> None:
    random = Random(2)
    for window in islice(windows(random, ZONES), 30):
        assert [str(each) for each in cases(random, window, 10) if each is not None] == []


def test_the_next_day_is_the_one_that_a_walk_through_the_calendar_finds() -> None:
    random = Random(3)
    assert [str(each) for each in (rare_days(random) for _ in range(500)) if each is not None] == []


def test_the_day_that_samoa_left_out_is_walked_too() -> None:
    (change,) = (change for change in changes("Pacific/Apia", 2011) if change.month == 12)
    window = Window.around("Pacific/Apia", change, step=MINUTE, reach=2 * DAY)
    daily = Meaning(text="0 12 * * *", minutes=frozenset({720}))
    counts = {policy: len(fires(daily, policy, window)) for policy in POLICIES}
    assert counts == {None: 5, "skip": 4, "next_valid": 5, "first": 4, "both": 5}
    random = Random(4)
    assert [compare(daily, policy, window, random) for policy in POLICIES for _ in range(20)] == [None] * 100


def test_the_walk_itself_finds_a_schedule_that_is_wrong() -> None:
    window = Window.around("Europe/Berlin", changes("Europe/Berlin", 2026)[0], step=MINUTE, reach=36 * HOUR)
    wrong = Meaning(text="30 2 * * *", minutes=frozenset({151}))
    assert any(compare(wrong, None, window, Random(seed)) for seed in range(10))


def test_random_strings_are_schedules_or_schedule_errors() -> None:
    random = Random(5)
    for _ in range(3000):
        judged_in(string(random), random.choice(("UTC", "Europe/Berlin")))
