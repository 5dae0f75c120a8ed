"""Words → phrases: which clauses there are, and what each says.

schedule  = phrase ("also" phrase)*
phrase    = clause+ ("except" clause+)*
clause    = "every" (length | weekdays | months) ["starting on the" ordinal unit]
          | "at" times | "on" days | "of" or "in" (months | years) | ("after" | "before") time
          | "between" time "and" time | "daily" and its like
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from jobserver.schedule.words import items
from jobserver.schedule.words.days import month_and_day, numbered
from jobserver.schedule.words.phrase import Frequency, Phrase, Window
from jobserver.schedule.words.reader import Reader
from jobserver.schedule.words.tokens import Kind
from jobserver.schedule.words.vocabulary import (
    CADENCES,
    DAY_SETS,
    MONTHS,
    ORDINAL_WORDS,
    SECONDS_IN,
    UNITS,
    WEEKDAYS,
    listed,
)

Clause = Callable[[Phrase], str]
"""Reads one clause into a phrase and returns what it names: no other clause of the phrase may name it again."""


_TIMES = frozenset({"times", "times after", "times before", "times between"})


class Grammar:
    """One reading of a text."""

    def __init__(self, text: str) -> None:
        self._reader = Reader(text)
        self._clauses: dict[str, Clause] = {
            **dict.fromkeys(("every", "each"), self._every),
            **dict.fromkeys(("at", "@"), self._at),
            **dict.fromkeys(("of", "in"), self._of),
            **dict.fromkeys(("between", "from"), self._between),
            "on": self._on,
            "after": self._after,
            "before": self._before,
            "once": self._once,
        }

    def phrases(self) -> list[Phrase]:
        """All of the text; Misunderstood for what is not in the grammar."""
        phrases = [self._phrase()]
        while self._reader.accept("also"):
            phrases.append(self._phrase())
        if self._reader.token.kind is not Kind.END:
            raise self._reader.stuck()
        return phrases

    def _phrase(self) -> Phrase:
        phrase = Phrase()
        self._read_clauses(phrase)
        while self._reader.accept("except"):
            self._read_exceptions(phrase)
        return phrase

    def _read_clauses(self, phrase: Phrase) -> None:
        named, last = set[str](), ""
        while True:
            clause = self._next_clause()
            if clause is None:
                if not named:
                    raise self._reader.stuck()
                return
            begin, by_and = self._reader.token, self._reader.latest.text == "and"
            what = clause(phrase)
            if what in named and not (what == last and self._joined):
                raise self._reader.refused(f"{what} are named twice; put 'also' between two schedules", at=begin)
            if by_and and last and what != last and not {what, last} & _TIMES:
                raise self._reader.refused(
                    f"either {last} or {what}, or both at once? Put 'also' in place of 'and', or leave 'and' out",
                    at=begin,
                )
            named.add(what)
            last = what

    def _read_exceptions(self, phrase: Phrase) -> None:
        """Clauses with "and" between them are exceptions on their own; without, all of them must hold."""
        exception, count = Phrase(), 0
        while (clause := self._next_clause()) is not None:
            if count and self._joined:
                phrase.exceptions.append(exception)
                exception = Phrase()
            begin = self._reader.token
            if clause(exception) == "frequency" or exception.frequency:
                raise self._reader.refused("an exception names days or times, not how often", at=begin)
            count += 1
        if not count:
            raise self._reader.stuck("after 'except' come days or times")
        phrase.exceptions.append(exception)

    def _next_clause(self) -> Clause | None:
        """What reads the clause that comes next; None where there is none."""
        self._joined = self._reader.try_to(lambda: self._reader.accept_connector() and self._starts_clause())
        reader = self._reader
        if reader.token.kind in (Kind.WORD, Kind.SIGN) and reader.token.text in self._clauses:
            return self._clauses[reader.token.text]
        if reader.is_word(CADENCES):
            return self._cadence
        return self._on_the_bare if self._starts_bare() else None

    def _starts_clause(self) -> bool:
        token = self._reader.token
        return token.text in self._clauses or token.text in CADENCES or self._starts_bare()

    def _starts_bare(self) -> bool:
        """A clause without its preposition: "mondays", "9:00", "the first monday"."""
        reader = self._reader
        if reader.token.kind is Kind.DATE or reader.is_word(("the",)) or reader.is_word(MONTHS):
            return True
        return items.starts_weekday(reader) or items.starts_time(reader) or items.starts_ordinal(reader)

    def _on_the_bare(self, phrase: Phrase) -> str:
        if items.starts_time(self._reader):
            return self._times(phrase)
        return self._days(phrase)

    def _on(self, phrase: Phrase) -> str:
        self._reader.take()
        return self._days(phrase)

    def _days(self, phrase: Phrase) -> str:
        reader = self._reader
        if reader.token.kind is Kind.DATE:
            raise reader.refused("one date is a moment, not a schedule", instead=f"{reader.token.text[:10]} 09:00")
        reader.accept("the")
        if items.starts_weekday(reader):
            phrase.weekdays |= items.weekdays(reader)
            return "weekdays"
        return month_and_day(reader, phrase) if reader.is_word(MONTHS) else numbered(reader, phrase)

    def _at(self, phrase: Phrase) -> str:
        self._reader.take()
        if self._reader.accept("the"):
            return numbered(self._reader, phrase)
        return self._times(phrase)

    def _times(self, phrase: Phrase) -> str:
        reader = self._reader
        if not items.starts_time(reader):
            items.clock_time(reader)  # says why not
        phrase.times |= items.times(reader)
        return "times"

    def _every(self, phrase: Phrase) -> str:
        reader = self._reader
        reader.take()
        if items.starts_weekday(reader):
            phrase.weekdays |= items.weekdays(reader)
            return "weekdays"
        if reader.is_word(MONTHS):
            phrase.months |= items.months(reader)
            return "months"
        if reader.is_word(("last",)) or (reader.is_word(ORDINAL_WORDS) and not self._is_unit_second()):
            return numbered(reader, phrase, ambiguous_without_of=True)
        if reader.token.kind is Kind.ORDINAL:
            return numbered(reader, phrase, ambiguous_without_of=True)
        return self._frequency(phrase)

    def _is_unit_second(self) -> bool:
        """In "every second" it is the unit; in "every second monday" it is not."""
        following = self._reader.following
        return self._reader.token.text == "second" and following.text not in UNITS and not self._is_day(following.text)

    def _is_day(self, word: str) -> bool:
        return word in WEEKDAYS or word in DAY_SETS

    def _once(self, phrase: Phrase) -> str:
        """ "once a day", "once every 2 hours"; "once in 2 hours" is neither a moment nor a schedule."""
        self._reader.take()
        if self._reader.is_word(("every", "each")):
            return self._every(phrase)
        if self._reader.token.text == "1" and self._reader.following.text in UNITS:
            return self._frequency(phrase)
        raise self._reader.refused(
            "'once' goes with 'a day' or 'every 2 hours'; a single moment is written as one",
            instead="2026-01-31T10:00Z",
        )

    def _cadence(self, phrase: Phrase) -> str:
        phrase.cadence = self._reader.take().text.replace("annually", "yearly")
        return "frequency"

    def _frequency(self, phrase: Phrase) -> str:
        reader, begin = self._reader, self._reader.token.start
        if phrase.frequency is not None or phrase.cadence:
            raise reader.refused("how often is said twice")
        count = Fraction(2) if reader.accept("other") else self._count()
        unit = self._unit()
        length = count * SECONDS_IN[unit] if unit in SECONDS_IN else None
        while length is not None and reader.try_to(self._starts_further_length):
            more = self._count()
            further = self._unit()
            if further not in SECONDS_IN:
                raise reader.refused(f"a {further} has no fixed length, so nothing can be added to it")
            count, length, unit = Fraction(0), length + more * SECONDS_IN[further], further
        if not count and not length:
            raise reader.refused("every 0 is no length of time", instead="every minute")
        phrase.frequency = Frequency(count, unit, length, reader.text_between(begin, reader.token.start))
        if reader.accept("starting"):
            self._starting(phrase, unit)
        return "frequency"

    def _count(self) -> Fraction:
        if self._reader.token.kind is not Kind.NUMBER:
            return Fraction(1)
        return Fraction(self._reader.take().text)

    def _unit(self) -> str:
        reader = self._reader
        if not reader.is_word(UNITS):
            raise reader.stuck(f"a unit belongs here: {listed([*SECONDS_IN, 'month', 'year'])}")
        return UNITS[reader.take().text]

    def _starts_further_length(self) -> bool:
        self._reader.accept_connector()
        return self._reader.token.kind is Kind.NUMBER and self._reader.following.text in UNITS

    def _starting(self, phrase: Phrase, unit: str) -> None:
        """ "starting on the 4th minute": an offset from the full hour or day."""
        reader = self._reader
        reader.accept("at", "on", "from")
        reader.accept("the")
        if items.starts_time(reader) or reader.token.kind is Kind.DATE:
            raise reader.refused("from when it counts is said by startDate", instead=f"every {unit} after 9:00")
        number = items.ordinal(reader)
        named = self._unit()
        if named not in ("second", "minute", "hour") or number < 0:
            raise reader.refused("it can start on a second, a minute or an hour")
        phrase.offset = number * SECONDS_IN[named]

    def _after(self, phrase: Phrase) -> str:
        return self._bound(phrase, is_first=True)

    def _before(self, phrase: Phrase) -> str:
        return self._bound(phrase, is_first=False)

    def _bound(self, phrase: Phrase, *, is_first: bool) -> str:
        """ "after 8:00" holds 8:00 itself, "before 17:00" ends just before it, as in later."""
        reader = self._reader
        begin = reader.take()
        reader.accept("the")
        if items.starts_ordinal(reader):
            hour = items.ordinal(reader)
            if self._unit() != "hour" or not 0 <= hour <= 23:
                raise reader.refused("'after' and 'before' take a time of day", at=begin)
            second = hour * 3600
        else:
            second = items.clock_time(reader).second
        if not is_first and second == 0:
            raise reader.refused("nothing of a day is before midnight", at=begin)
        phrase.windows.append(Window(first=second) if is_first else Window(last=second - 1))
        return f"times {begin.text}"

    def _between(self, phrase: Phrase) -> str:
        """ "between 8:00 and 17:00" holds both ends."""
        reader = self._reader
        begin = reader.take()
        reader.accept("the")
        if items.starts_weekday(reader):
            phrase.weekdays |= items.weekdays(reader)
            return "weekdays"
        if items.starts_ordinal(reader):
            return self._between_numbers(phrase)
        first = items.clock_time(reader)
        if not (reader.accept("and") or reader.accept_range_sign()):
            raise reader.stuck("'and' and the second time belong here")
        last = items.clock_time(reader)
        items.require_halves(reader, [first, last], begin)
        phrase.windows.append(Window(first=first.second, last=last.second))
        return "times between"

    def _between_numbers(self, phrase: Phrase) -> str:
        reader = self._reader
        begin = reader.token
        first = items.ordinal(reader)
        reader.accept("and") or reader.accept_range_sign()
        reader.accept("the")
        last = items.ordinal(reader)
        unit = self._unit()
        named = {"hour": phrase.hours, "minute": phrase.minutes, "second": phrase.seconds}.get(unit)
        highest = 23 if unit == "hour" else 59
        if named is None or not 0 <= first <= last <= highest:
            raise reader.refused(f"between two hours, minutes or seconds, {first} to {last} is none", at=begin)
        named |= set(range(first, last + 1))
        return f"{unit}s"

    def _of(self, phrase: Phrase) -> str:
        reader = self._reader
        begin = reader.take()
        reader.accept("the")
        if reader.is_word(MONTHS):
            phrase.months |= items.months(reader)
            return "months"
        if items.starts_year(reader):
            phrase.years |= items.years(reader)
            return "years"
        if reader.token.kind is Kind.NUMBER and reader.following.text in UNITS:
            length = f"{reader.token.text} {reader.following.text}"
            raise reader.refused("it counts from now, and a schedule has no now", at=begin, instead=f"every {length}")
        if begin.text == "of" and items.starts_ordinal(reader):
            return numbered(reader, phrase)
        raise reader.stuck("months ('of jan') or years ('in 2027') belong here")
