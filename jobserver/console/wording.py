"""What a person reads of each event; one without a wording of its own is shown as it is, with its fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from jobserver.words import clock, one_line, took, value

Record = Mapping[str, Any]

SERVER = "jobserver"
_ENVELOPE = frozenset({"timestamp", "level", "event", "logger", "exception", "traceback", "stack", "job", "run"})


def worded(record: Record, event: str) -> tuple[str, str, str]:
    """A mark, the name of its colour ("" for none), and the words."""
    known = WORDING.get(event) if str(record.get("logger")) == SERVER else None
    return known(record) if known else _as_it_is(record, event)


def _run_ended(record: Record) -> tuple[str, str, str]:
    name, status = record.get("name"), str(record.get("status"))
    lasted = took(record.get("duration_ms"))
    match status:
        case "completed":
            result = f": {value(record['result'])}" if record.get("result") is not None else ""
            return "✓", "green", f"{name} completed in {lasted}{result}"
        case "failed, will be retried":
            again = took(record.get("retry_in_ms"))
            attempt = f"attempt {record.get('attempt')} failed"
            return "↻", "yellow", f"{name} {attempt} after {lasted}: {_error(record)}; again in {again}"
        case "failed":
            return "✗", "red", f"{name} failed after {lasted}: {_error(record)}"
        case _:
            return "!", "yellow", f"{name} {status} after {lasted}{_tail(record)}"


def _runs_ended(record: Record) -> tuple[str, str, str]:
    colour = "green" if record.get("status") == "completed" else "yellow"
    return "…", colour, f"{record.get('name')} {record.get('status')}, {record.get('count')} more times"


def _job_found(record: Record) -> tuple[str, str, str]:
    rest = [str(record[key]) for key in ("schedule", "path") if record.get(key)]
    return "+", "cyan", f"{record.get('name')} found: {', '.join(rest)}"


def _job_changed(record: Record) -> tuple[str, str, str]:
    return "+", "cyan", f"{record.get('name')} has new code; what runs ends on the old"


def _job_removed(record: Record) -> tuple[str, str, str]:
    return "-", "yellow", f"{record.get('name')} removed: its file is gone, its configuration is kept"


def _job_file_broken(record: Record) -> tuple[str, str, str]:
    said = str(record.get("error") or record.get("path"))
    if kept := record.get("in_force"):
        return "✗", "red", f"{said}; the last good version of {_listed(kept)} stays in force"
    return "✗", "red", f"{said}; this server does not run {record['not_run']}" if record.get("not_run") else said


def _job_file_sound(record: Record) -> tuple[str, str, str]:
    return "✓", "green", f"{record.get('path')} is sound again: {_listed(record.get('in_force') or [])}"


def _not_started(record: Record) -> tuple[str, str, str]:
    due = str(record.get("due"))[:19]
    return "!", "yellow", f"{record.get('name')} did not start its run of {due}: {record.get('reason')}"


def _occurrences_skipped(record: Record) -> tuple[str, str, str]:
    first, last = _local(record, "first"), _local(record, "last")
    runs = f"1 run, of {first}" if record.get("count") == 1 else f"{record.get('count')} runs, {first} to {last}"
    return (
        "!",
        "yellow",
        f"{record.get('name')} leaves out {runs}: {record.get('reason')} (misfire: {record.get('misfire')})",
    )


def _one_off_not_taken_on(record: Record) -> tuple[str, str, str]:
    return "!", "yellow", f"one-off {record.get('name')} cannot run here, {record.get('note')}: {record.get('reason')}"


def _run_stopping(record: Record) -> tuple[str, str, str]:
    name = record.get("name")
    match record.get("step"):
        case "told":
            return "·", "", f"{name} is told to stop: {record.get('reason')}"
        case "interrupted":
            return "!", "yellow", f"{name} was told to stop and goes on: it is interrupted"
        case "stopped":
            return "!", "yellow", f"{name} goes on after its grace: its process is killed"
        case _:
            return "!", "yellow", f"{name} is {record.get('step')}"


def _run_does_not_stop(record: Record) -> tuple[str, str, str]:
    return "✗", "red", f"{record.get('name')} does not stop: {record.get('note')}"


def _config_applied(record: Record) -> tuple[str, str, str]:
    enabled = record.get("enabled")
    switched = [f"is {'enabled' if enabled else 'disabled'}"] if isinstance(enabled, bool) else []
    changes = [
        f"no {key} of its own" if record[key] is None else f"{key} {item}"
        for key, item in _fields(record)
        if key not in ("name", "enabled")
    ]
    words = [*switched, f"now has {', '.join(changes)}"] if changes else switched
    return "~", "cyan", f"{record.get('name')} {', '.join(words)}"


def _config_refused(record: Record) -> tuple[str, str, str]:
    reason = f"{record.get('field')}: {record.get('message')}"
    return "!", "yellow", f"{record.get('name')} keeps its configuration; the edit cannot be used: {reason}"


def _config_full(record: Record) -> tuple[str, str, str]:
    return "✗", "red", f"{record.get('name')}: its configuration document is full, nothing can be shown in it"


def _server_stopping(_record: Record) -> tuple[str, str, str]:
    return "·", "", "stopping: what runs may end within its grace period; once more cuts it short"


def _waiting_for_runs(record: Record) -> tuple[str, str, str]:
    runs = "1 run has" if record.get("running") == 1 else f"{record.get('running')} runs have"
    return "·", "", f"{runs} at most {took(_milliseconds(record.get('at_most_seconds')))} to end"


def _waiting_for_claims(record: Record) -> tuple[str, str, str]:
    return "·", "", f"what was just claimed goes back, in {took(_milliseconds(record.get('at_most_seconds')))}"


def _server_could_not_start(record: Record) -> tuple[str, str, str]:
    return "✗", "red", f"could not start: {record.get('error')}"


def _server_stopped(record: Record) -> tuple[str, str, str]:
    match record.get("exit_code"):
        case 0:
            return "·", "", "stopped, nothing is left locked"
        case 130:
            return "!", "yellow", "stopped early: what was cut off is queued again"
        case 75:  # as jobserver.worker has it
            return "·", "", "stopped, nothing is left locked: a fresh server may take its place"
        case code:
            return "✗", "red", f"stopped with exit code {code}"


def _mongodb_away(record: Record) -> tuple[str, str, str]:
    return "!", "yellow", f"MongoDB is away ({record.get('chore')}): {one_line(str(record.get('error')), 120)}"


def _worker_ended(record: Record) -> tuple[str, str, str]:
    pause = record.get("restart_in_ms")
    again = "" if pause is None else "; it is started again" + (f" in {took(pause)}" if pause else "")
    return "!", "yellow", f"worker {record.get('worker')} ended: {record.get('how')}{again}"


def _worker_recycled(record: Record) -> tuple[str, str, str]:
    return "·", "", f"worker {record.get('worker')} has done enough: a fresh one starts in its place"


def _server_draining(record: Record) -> tuple[str, str, str]:
    return "·", "", f"claims nothing more and ends with its last run: {record.get('reason')}"


def _too_few_slots(record: Record) -> tuple[str, str, str]:
    waits = "1 run waits" if record.get("documents") == 1 else f"{record.get('documents')} runs wait"
    needs = f"more slots than the {record.get('available_slots')} here"
    return "!", "yellow", f"{record.get('name')}: {waits} for a larger server, with {needs}"


def _runs_given_back(record: Record) -> tuple[str, str, str]:
    runs = "1 run" if record.get("runs") == 1 else f"{record.get('runs')} runs"
    names = f" ({_listed(record['jobs'])})" if record.get("jobs") else ""
    return "↻", "yellow", f"{runs} of worker {record.get('worker')} may start again elsewhere{names}"


def _job_given_up(record: Record) -> tuple[str, str, str]:
    advice = f"`jobserver retry {record.get('job_id')}` gives it one more go"
    return "✗", "red", f"{record.get('name')} is given up after {record.get('crashes')} crashes; {advice}"


def _lock_taken_back(record: Record) -> tuple[str, str, str]:
    if record.get("given_up"):
        return _job_given_up(record)
    server = record.get("server")
    return "↻", "yellow", f"{record.get('name')} may start again: its lock was taken back from {server}"


def _loop_blocked(record: Record) -> tuple[str, str, str]:
    seconds = record.get("seconds")
    lasted = took(_milliseconds(seconds)) if isinstance(seconds, int | float) else "some time"
    where = f" at {record['where']}" if record.get("where") else ""
    name, _, run = str(record.get("job") or "").partition(" ")
    if not name:
        reason = record.get("advice")
        return "!", "yellow", f"the event loop has stood still for {lasted}{where}: {reason}"
    culprit = name if run else f"{name} of some job"
    return "!", "yellow", f"{culprit} has blocked the event loop for {lasted}{where}; {record.get('advice')}"


def _mongodb_back(_record: Record) -> tuple[str, str, str]:
    return "✓", "green", "MongoDB is back"


WORDING: Mapping[str, Callable[[Record], tuple[str, str, str]]] = {
    "run ended": _run_ended,
    "runs ended": _runs_ended,
    "job found": _job_found,
    "job changed": _job_changed,
    "job removed": _job_removed,
    "job file broken": _job_file_broken,
    "job file sound": _job_file_sound,
    "occurrence not started": _not_started,
    "occurrences skipped": _occurrences_skipped,
    "one-off not taken on": _one_off_not_taken_on,
    "run stopping": _run_stopping,
    "run does not stop": _run_does_not_stop,
    "config applied": _config_applied,
    "config refused": _config_refused,
    "config full": _config_full,
    "server stopping": _server_stopping,
    "waiting for runs": _waiting_for_runs,
    "waiting for claims": _waiting_for_claims,
    "server could not start": _server_could_not_start,
    "server stopped": _server_stopped,
    "event loop blocked": _loop_blocked,
    "lock taken back": _lock_taken_back,
    "job given up": _job_given_up,
    "mongodb away": _mongodb_away,
    "mongodb back": _mongodb_back,
    "worker ended": _worker_ended,
    "runs given back": _runs_given_back,
    "worker recycled": _worker_recycled,
    "server draining": _server_draining,
    "too few slots": _too_few_slots,
}
_MARKS = {"debug": ("·", "dim"), "info": ("·", ""), "warning": ("!", "yellow")}


def _as_it_is(record: Record, event: str) -> tuple[str, str, str]:
    mark, colour = _MARKS.get(str(record.get("level")), ("✗", "red"))
    speaker = f"{record['job']}: " if record.get("job") else ""
    fields = " ".join(f"{key}={item}" for key, item in _fields(record))
    return mark, colour, f"{speaker}{event}{f'  {fields}' if fields else ''}"


def _fields(record: Record) -> list[tuple[str, str]]:
    """Those that say something: a line without more is what was printed."""
    items = record.items()
    return [(key, _short(item)) for key, item in items if key not in _ENVELOPE and (key, item) != ("stream", "stdout")]


def _short(item: Any) -> str:
    return one_line(item, 120) if isinstance(item, str) else value(item, 120)


def _error(record: Record) -> str:
    return one_line(str(record.get("error")), 160)


def _listed(names: Any) -> str:
    return ", ".join(map(str, names)) if isinstance(names, list | tuple) else str(names)


def _tail(record: Record) -> str:
    said = record.get("error") or record.get("reason")
    return f": {one_line(str(said), 160)}" if said else ""


def _milliseconds(seconds: Any) -> float | None:
    return seconds * 1_000 if isinstance(seconds, int | float) else None


def _local(record: Record, key: str) -> str:
    """A moment in ISO form as the clock here shows it, with its date where that is another day than the record's."""
    moment, told = datetime.fromisoformat(str(record.get(key))), record.get("timestamp")
    return clock(moment, told if isinstance(told, datetime) else moment)
