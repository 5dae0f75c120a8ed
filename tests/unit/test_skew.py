"""A clock that is off is off for whatever a program may ask, and for nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from tests.skew import skewed

HOUR = timedelta(hours=1)

# Every way of asking for the time, here and in a process that this one starts.
ASKED = """
import datetime, json, subprocess, sys, time
from datetime import UTC, date, datetime as imported
import bson

def all_ways():
    return {
        "time": time.time(), "time_ns": time.time_ns() / 1e9, "realtime": time.clock_gettime(time.CLOCK_REALTIME),
        "now": datetime.datetime.now().timestamp(), "aware": imported.now(UTC).timestamp(),
        "utcnow": imported.utcnow().replace(tzinfo=UTC).timestamp(), "today": imported.today().timestamp(),
        "localtime": time.mktime(time.localtime()), "ctime": time.mktime(time.strptime(time.ctime())),
        "strftime": time.mktime(time.strptime(time.strftime("%c"), "%c")),
        "id": bson.ObjectId().generation_time.timestamp(),
    }

ways = all_ways()
if sys.argv[1:] == ["child"]:
    print(json.dumps(ways["time"]))
    sys.exit()
child = subprocess.run([sys.executable, *sys.argv, "child"], capture_output=True, check=True, text=True)
kept = bson.decode(bson.encode({"at": imported.now(UTC)}))["at"]
print(json.dumps({
    "ways": {**ways, "child": float(child.stdout)},
    "true": {"monotonic": time.monotonic(), "boottime": time.clock_gettime(time.CLOCK_BOOTTIME)},
    "a_date_is_a_date": type(kept) is imported and isinstance(date.today(), date),
}))
"""


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_every_way_to_ask_for_the_time_is_off_by_as_much_and_the_clocks_that_nobody_sets_are_not(
    ahead: timedelta, tmp_path: Path
) -> None:
    before = time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
    (program := tmp_path / "asks.py").write_text(ASKED)
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", program],
        env=skewed(os.environ, ahead=ahead),
        capture_output=True,
        check=True,
        text=True,
    )
    told = json.loads(done.stdout)
    for way, moment in told["ways"].items():
        assert abs(moment - before[0] - ahead.total_seconds()) < 60, way
    assert 0 < told["true"]["monotonic"] - before[1] < 60
    assert 0 < told["true"]["boottime"] - before[2] < 60
    assert told["a_date_is_a_date"]
