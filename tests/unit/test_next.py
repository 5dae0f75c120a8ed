"""`jobserver next` for what somebody writes: told from a job's name by its form, shown in its zone and in UTC."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from jobserver.cli.answer import Answer, Screen
from jobserver.cli.commands.next import next_moments
from jobserver.cli.options import Where
from jobserver.errors import DatabaseError, JobServerError, ScheduleError
from jobserver.words import plain

pytestmark = pytest.mark.timeout(60)

MORE_THAN_A_YEAR = 400


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Where:
    """A project whose MongoDB nobody knows."""
    monkeypatch.delenv("JOBSERVER_MONGODB__URI", raising=False)
    (tmp_path / "config.yaml").write_text("{}")
    return Where(config=tmp_path / "config.yaml")


def looked_ahead(text: str, count: int = 3, zone: str | None = None, dst: str | None = None) -> Answer:
    return next_moments(Where(), text, count=count, zone=zone, dst=dst)


def document(text: str, **options: Any) -> dict[str, Any]:
    return dict(plain(looked_ahead(text, **options).document))


def shown(text: str, **options: Any) -> str:
    out = io.StringIO()
    looked_ahead(text, **options).show(Screen(Console(file=out, width=300)))
    return out.getvalue()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("every monday at 9:00", "Mondays at 09:00 Europe/Berlin"),
        ("0 9 * * mon-fri", "Weekdays at 09:00 Europe/Berlin"),
        ("hourly", "every hour Europe/Berlin"),
        ("9:00", "every day at 09:00 Europe/Berlin"),
        ("5 minutes", "every 5 minutes"),
        ("PT5M", "every 5 minutes"),
    ],
)
def test_whatever_is_a_schedule_is_shown_with_so_many_moments(text: str, words: str) -> None:
    answer = document(text, count=5, zone="Europe/Berlin")
    assert (answer["name"], answer["schedule_text"], answer["zone"]) == (None, words, "Europe/Berlin")
    moments = [datetime.fromisoformat(each["moment"]) for each in answer["next"]]
    assert moments == sorted(set(moments))
    assert (len(moments), moments[0] > datetime.now(UTC)) == (5, True)
    assert [datetime.fromisoformat(each["wall"]) for each in answer["next"]] == moments
    assert shown(text, zone="Europe/Berlin").startswith(f"{words}\n")


def test_the_clocks_of_the_zone_stand_beside_utc() -> None:
    told = shown("every weekday at 9:00", zone="Asia/Kolkata")
    header, *rows = (line.split() for line in told.splitlines()[2:])
    assert header == ["Asia/Kolkata", "UTC", "FROM", "NOW"]
    assert [(row[2], row[3], row[5]) for row in rows] == [("09:00", "IST", "03:30")] * 3
    assert "Asia/Kolkata" not in shown("every weekday at 9:00")


def test_seconds_are_shown_where_there_are_any() -> None:
    assert {line.split()[2] for line in shown("30 0 12 * * *").splitlines()[3:]} == {"12:00:30"}


@pytest.mark.parametrize(
    ("dst", "gap", "overlap"),
    [
        (None, ": runs at 03:00", "comes twice: runs in the first pass"),
        ("skip", ": nothing runs", "comes twice: runs in the first pass"),
        ("both", ": runs at 03:00", "comes twice: runs in the second pass too"),
    ],
)
def test_a_note_says_what_a_change_of_clocks_does(dst: str | None, gap: str, overlap: str) -> None:
    answer = document("30 2 * * *", count=MORE_THAN_A_YEAR, zone="Europe/Berlin", dst=dst)
    notes = [each["note"] for each in answer["next"] if each["note"]]
    assert any(note.startswith("02:30 does not exist on ") and note.endswith(gap) for note in notes)
    assert any(note.endswith(overlap) for note in notes)
    assert all(note in shown("30 2 * * *", count=MORE_THAN_A_YEAR, zone="Europe/Berlin", dst=dst) for note in notes)


def test_both_passes_of_an_hour_are_told_apart_by_their_offset() -> None:
    answer = document("30 2 * * *", count=MORE_THAN_A_YEAR, zone="Europe/Berlin", dst="both")
    twice = [each["wall"][-6:] for each in answer["next"] if each["note"] and "comes twice" in each["note"]]
    assert twice[:2] in (["+02:00", "+01:00"], ["+01:00", "+02:00"])  # it may begin between them


def test_an_interval_is_counted_from_now_and_says_so() -> None:
    before = datetime.now(UTC)
    answer = document("90 minutes", count=2)
    first, second = (datetime.fromisoformat(each["moment"]) for each in answer["next"])
    assert second - first == timedelta(minutes=90)
    assert abs(first - before - timedelta(minutes=90)) < timedelta(seconds=30)
    assert "counted from now" in shown("90 minutes")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("manual", "it never runs by itself"),
        ("now", "once for each version of the job's code"),
        ("2020-01-01", "its moment has passed"),
    ],
)
def test_what_has_no_moments_says_so_and_is_no_failure(text: str, says: str) -> None:
    assert document(text)["next"] == []
    assert looked_ahead(text).exit_code == 0
    assert says in shown(text)


def test_what_ends_says_that_it_ends() -> None:
    year = datetime.now(UTC).year + 1
    assert "and then never again" in shown(f"at 9:00 on january 1 in {year}")
    assert "and then never again" in document(f"at 9:00 on january 1 in {year}")["remarks"]
    assert "never again" not in shown("yearly")


@pytest.mark.parametrize("text", ["api:report", "every:day", "daily:report", "my-plugin:send mail at 9:00", "a:1"])
def test_a_word_with_a_colon_is_a_name_and_only_a_database_knows_it(nowhere: Where, text: str) -> None:
    with pytest.raises(DatabaseError, match="no MongoDB is known"):
        next_moments(nowhere, text, count=3, zone=None, dst=None)


@pytest.mark.parametrize("text", ["hourlyy", "report", "send-mail"])
def test_a_single_word_may_be_either_and_is_refused_as_both(nowhere: Where, text: str) -> None:
    with pytest.raises(ScheduleError, match=r"is not a schedule.*; and as the name of a job: no MongoDB is known"):
        next_moments(nowhere, text, count=3, zone=None, dst=None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("every blue moon", "unknown word 'blue'"),
        ("at 25:00", "25:00 is not a time of day"),
        ("9:99", "9:99 is not a time of day"),
        ("61 * * * *", "minute"),
        ("@dialy", "did you mean '@daily'"),
        ("may", "something is missing"),
        ("0 0 30 2 *", "never fires"),
        ("2026-13-01T10:00Z", "is not a moment"),
        ("10 mintues", "did you mean"),
        ("", "is not a schedule"),
    ],
)
def test_a_bad_expression_is_refused_as_one_without_a_database(nowhere: Where, text: str, says: str) -> None:
    with pytest.raises(ScheduleError, match=says) as caught:
        next_moments(nowhere, text, count=3, zone=None, dst=None)
    assert "name of a job" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "zone", "dst", "field"),
    [
        ("hourly", "Europe/Berlim", None, "schedule"),
        ("5 minutes", "Europe/Berlim", None, "schedule"),
        ("manual", "Europe/Berlim", None, "schedule"),
        ("hourly", None, "sometimes", "schedule.dst"),
        ("5 minutes", None, "skip", "schedule.dst"),
        ("now", None, "skip", "schedule.dst"),
    ],
)
def test_a_bad_option_of_an_expression_is_refused_without_a_database(
    nowhere: Where, text: str, zone: str | None, dst: str | None, field: str
) -> None:
    with pytest.raises(ScheduleError) as caught:
        next_moments(nowhere, text, count=3, zone=zone, dst=dst)
    assert caught.value.field == field


def test_what_clocks_do_to_a_job_is_not_for_this_command_to_choose(nowhere: Where) -> None:
    with pytest.raises(JobServerError, match=r"--dst: is for expressions; `jobserver schedule NAME EXPR --dst"):
        next_moments(nowhere, "api:report", count=3, zone=None, dst="skip")
