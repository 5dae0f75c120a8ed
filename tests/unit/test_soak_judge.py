"""Whether a soak would see what it looks for: slopes with and without noise, and what grows by steps."""

from __future__ import annotations

import json
import math
import random
from collections import Counter

import pytest

from tests.soak.__main__ import as_json, summary
from tests.soak.fit import HOUR, slope
from tests.soak.judge import Finding, enough, judge, memory, percentile
from tests.soak.samples import Series, Watched
from tests.soak.soak import Plan, Report

SECONDS = 3000.0


def noisy(per_hour: float, *, seed: int, seconds: float = SECONDS, noise: float = 0.2) -> Series:
    """Every two seconds, with noise that has a memory, as that of an allocator has."""
    rng, drift, points = random.Random(seed), 0.0, []
    for number in range(int(seconds / 2)):
        drift = 0.9 * drift + rng.gauss(0.0, noise)
        points.append((number * 2.0, 60.0 + per_hour * number * 2.0 / HOUR + drift))
    return points


def test_a_straight_line_has_its_slope_for_certain() -> None:
    found = slope([(second, 5 + second / HOUR * 2.5) for second in range(0, 3000, 2)], block=60)
    assert found.per_hour == pytest.approx(2.5)
    assert (found.low, found.high) == (pytest.approx(2.5), pytest.approx(2.5))


def test_the_true_slope_is_within_the_bounds_nineteen_times_of_twenty() -> None:
    within = 0
    for seed in range(200):
        found = slope(noisy(1.0, seed=seed), block=75)
        within += found.low <= 1.0 <= found.high
    assert within >= 180, f"{within} of 200"


def test_too_little_says_nothing() -> None:
    found = slope([(0.0, 1.0), (1.0, 2.0)], block=10)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert not memory("server", [(0.0, 1.0), (1.0, 2.0)], seconds=600).holds


@pytest.mark.parametrize("seed", range(5))
def test_over_an_hour_a_leak_of_two_megabytes_is_seen_and_noise_is_none(seed: int) -> None:
    assert not memory("server", noisy(2.0, seed=seed, noise=0.05), seconds=SECONDS).holds
    assert not memory("server", noisy(0.6, seed=seed, noise=0.0), seconds=SECONDS).holds
    assert memory("server", noisy(0.0, seed=seed, noise=0.0), seconds=SECONDS).holds


@pytest.mark.parametrize("seed", range(5))
def test_over_ten_minutes_a_leak_of_three_megabytes_is_seen_and_noise_is_none(seed: int) -> None:
    seconds = 420.0
    assert not memory("server", noisy(3 * HOUR / seconds, seed=seed, seconds=seconds), seconds=seconds).holds
    assert memory("server", noisy(0.0, seed=seed, seconds=seconds), seconds=seconds).holds


def sampled(**last: float) -> list[Finding]:
    """A process and a collection at 10 of everything, but for these in the last third."""
    process = Watched(name="server", pid=1)
    for at in range(0, 300):
        for what in ("descriptors", "sockets", "threads", "tasks", "lag", "own lag", "megabytes"):
            process.add(what, at, last.get(what, 10.0) if at >= 200 else 10.0)
    rising = [(float(at), last.get("documents", 100.0) if at >= 200 else 100.0) for at in range(300)]
    return judge([process], {"runs": rising}, rising, begin=0, end=300)


def wrong(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(each.of, each.what) for each in findings if not each.holds and each.what != "memory"}


def test_what_stays_is_right_and_what_grows_is_named() -> None:
    assert wrong(sampled()) == set()
    assert wrong(sampled(descriptors=16)) == {("server", "descriptors")}
    assert wrong(sampled(sockets=16, threads=3)) == {("server", "sockets"), ("server", "threads")}
    assert wrong(sampled(tasks=14)) == set()
    assert wrong(sampled(megabytes=14)) == {("server", "resident")}
    assert wrong(sampled(documents=200)) == {("runs", "documents"), ("files below .jobserver", "files")}


def test_what_was_never_measured_is_not_right() -> None:
    (server,) = {each.of for each in sampled() if each.what == "tasks"}
    silent = Watched(name=server, pid=1)
    unmeasured = {(server, what) for what in ("descriptors", "sockets", "threads", "tasks", "lag p99", "resident")}
    assert wrong(judge([silent], {"runs": []}, [], begin=0, end=300)) == {
        *unmeasured,
        ("runs", "documents"),
        ("files below .jobserver", "files"),
    }


def test_servers_that_nobody_has_asked_for_enough_show_nothing() -> None:
    assert enough("asked for inline", 80, 100.0).holds
    assert not enough("asked for inline", 79, 100.0).holds
    assert not enough("workers killed", 0, 2.5).holds


def test_a_loop_that_waits_for_itself_is_slow_and_one_that_waits_for_a_processor_is_not() -> None:
    assert wrong(sampled(**{"lag": 90.0})) == set()
    assert wrong(sampled(**{"own lag": 90.0})) == {("server", "lag p99")}


def test_a_percentile_is_the_smallest_that_so_many_are_not_above() -> None:
    assert percentile([float(number) for number in range(1, 101)], 0.99) == 99.0
    assert percentile([7.0], 0.99) == 7.0
    assert math.isnan(percentile([], 0.99))


def test_a_report_is_told_to_people_and_to_programs() -> None:
    plan = Plan(seconds=600, warm_up=180, workers=2, kill_every=120, edit_every=60, seed=7)
    findings = sampled(threads=30)
    report = Report(asked=Counter(inline=3), kills=1, edits=2, findings=findings, task_names=Counter(claiming=1))
    told = json.loads(as_json(plan, report))
    assert (told["asked"], told["plan"]["seed"], len(told["findings"])) == ({"inline": 3}, 7, len(findings))
    shown = summary(plan, report)
    assert "seed 7" in shown
    assert any("NOT OK" in line and "threads" in line for line in shown.splitlines())
