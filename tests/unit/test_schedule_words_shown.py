"""How a schedule is described: words where they are better than the expression."""

from __future__ import annotations

import pytest

from jobserver.schedule import Schedule


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("30 1 * * *", "every day at 01:30 UTC"),
        ("0 9 * * mon-fri", "Weekdays at 09:00 UTC"),
        ("0 9,17 * * sat,sun", "Weekends at 09:00 and 17:00 UTC"),
        ("0 0 * * mon,sun", "Mondays and Sundays at 00:00 UTC"),
        ("15 30 9 * * 0-6", "every day at 09:30:15 UTC"),
        ("0 0 1 * *", "the 1st of the month at 00:00 UTC"),
        ("0 0 1,2,l * *", "the 1st, 2nd and last day of the month at 00:00 UTC"),
        ("0 0 3,11,22 * *", "the 3rd, 11th and 22nd of the month at 00:00 UTC"),
        ("0 0 1 1 *", "the 1st in January at 00:00 UTC"),
        ("0 10 * * mon#2", "the 2nd Monday of the month at 10:00 UTC"),
        ("0 10 * * L5", "the last Friday of the month at 10:00 UTC"),
        ("0 10 * 6,7 *", "every day in June and July at 10:00 UTC"),
        ("* * * * *", "every minute"),
        ("* * * * * *", "every second"),
        ("*/5 * * * *", "every 5 minutes"),
        ("0 * * * *", "every hour"),
        ("30 * * * *", "every hour at :30"),
        ("0 */2 * * *", "every 2 hours"),
        ("2/5 * * * *", "every 5 minutes from 00:02"),
        ("*/15 8-16 * * *", "every 15 minutes from 08:00 to 16:45"),
        ("*/15 * * * mon-fri", "every 15 minutes on weekdays"),
        ("*/15 * 1 * *", "every 15 minutes, the 1st of the month"),
        ("*/45 * * * *", "cron */45 * * * * (UTC)"),
        ("0 9 13 * fri", "cron 0 9 13 * fri (UTC)"),
        ("0 9 1-9 * *", "cron 0 9 1-9 * * (UTC)"),
    ],
)
def test_cron_is_put_into_words_where_they_are_better(expression: str, words: str) -> None:
    assert Schedule.parse(expression).describe() == words


def test_the_zone_is_named() -> None:
    assert Schedule.parse("0 9 * * 1-5", "Europe/Berlin").describe() == "Weekdays at 09:00 Europe/Berlin"
    assert Schedule.parse("*/5 * * * *", "Europe/Berlin").describe() == "every 5 minutes Europe/Berlin"
    assert Schedule.parse("*/45 * * * *", "Europe/Berlin").describe() == "cron */45 * * * * (Europe/Berlin)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("every 5 minutes", "every 5 minutes"),
        ("at 5:00 pm", "every day at 17:00 Europe/Berlin"),
        ("every weekday at 9:00", "Weekdays at 09:00 Europe/Berlin"),
        ("on the first monday at 10am", "the 1st Monday of the month at 10:00 Europe/Berlin"),
        (
            "every 15 minutes on mon between 8:00 and 17:00",
            "every 15 minutes from 08:00 to 17:00 on Mondays Europe/Berlin",
        ),
        ("at 9:00 also at 10:00 on mondays", "at 9:00 also at 10:00 on mondays (Europe/Berlin)"),
        ("at 9:00 in 2027", "at 9:00 in 2027 (Europe/Berlin)"),
    ],
)
def test_words_are_put_into_the_same_words_or_stay_as_they_are(text: str, words: str) -> None:
    assert Schedule.parse(text, "Europe/Berlin").describe() == words
