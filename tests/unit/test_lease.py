"""The end of the lease in memory that is shared with those who keep the runs' processes."""

from __future__ import annotations

import os
import struct
import time
from datetime import timedelta

import pytest

from jobserver.runner.pulse.heartbeat import new_server_id
from jobserver.runner.pulse.lease import Lease
from jobserver.store.clock import boottime


def shared_end(descriptor: int | None) -> float:
    assert descriptor is not None
    (end,) = struct.unpack("d", os.pread(descriptor, 8, 0))
    os.close(descriptor)
    return float(end)


def lease() -> Lease:
    return Lease(monotonic=lambda: 0.0, length=timedelta(seconds=30))


def test_each_renewal_moves_the_shared_end_which_is_after_ours_and_before_the_leases_own() -> None:
    held = lease()
    for sent_at in (100.0, 110.0):
        held.renewed("a", sent_at=sent_at)
        end = shared_end(held.shared_with("a"))
        assert held.seconds_left() < end < sent_at + 30
        assert end > sent_at + 25
    held.close()


def test_a_new_registration_has_a_memory_of_its_own_and_the_old_one_is_never_prolonged() -> None:
    held = lease()
    held.renewed("a", sent_at=100.0)
    old = held.shared_with("a")
    held.renewed("b", sent_at=200.0)
    assert held.shared_with("a") is None
    assert shared_end(old) < 130
    assert shared_end(held.shared_with("b")) > 225
    held.close()


def test_a_renewal_that_comes_too_late_prolongs_nothing_that_was_shared_before() -> None:
    now = 100.0
    held = Lease(monotonic=lambda: now, length=timedelta(seconds=30))
    held.renewed("a", sent_at=100.0)
    old = held.shared_with("a")
    now = 140.0
    held.renewed("a", sent_at=140.0)
    assert shared_end(old) < 130
    assert shared_end(held.shared_with("a")) > 165
    held.close()


def test_nothing_is_shared_before_the_first_registration_and_after_the_end() -> None:
    held = lease()
    assert held.shared_with("") is None
    held.renewed("a", sent_at=100.0)
    held.close()
    held.close()
    assert held.shared_with("a") is None


def test_a_lease_is_over_when_the_machine_has_slept_through_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asleep, true_time = 0.0, time.clock_gettime
    monkeypatch.setattr(
        time, "clock_gettime", lambda clock: true_time(clock) + (asleep if clock == time.CLOCK_BOOTTIME else 0.0)
    )
    held = Lease(monotonic=boottime, length=timedelta(minutes=10))
    held.renewed("a", sent_at=boottime())
    assert held.holds()
    asleep = 600.0  # CLOCK_MONOTONIC stands still meanwhile
    assert not held.holds()
    assert held.seconds_left() == 0.0
    held.close()


def test_no_registration_has_the_id_of_another_one() -> None:
    assert len({new_server_id() for _ in range(100)}) == 100
