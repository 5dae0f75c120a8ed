"""Configuration documents that a hand may leave, and what is in force after each by rules written down here anew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from jobserver.manager.overrides import as_document, parse_overrides
from tests.fuzz.elements import Element, Pairs, document, mapping, of, pairs_of, value_of
from tests.fuzz.nonsense import Nonsense

Values = dict[str, Any]
FIXED: Values = {"type": "fixed", "factor": 2.0}
GOOD: dict[str, list[tuple[Any, Any]]] = {
    "enabled": [(True, True), (False, False)],
    "cancelRunning": [(True, True), (False, False)],
    "schedule": [
        ("30 4 * * *", {"type": "schedule", "value": "30 4 * * *"}),
        ({"type": "interval", "value": 86_400_000.0}, {"type": "interval", "value": 86_400_000}),
        ({"type": "manual"}, {"type": "manual"}),
        (
            {"type": "schedule", "value": "0 9 * * 1", "timezone": "Europe/Vienna", "dst": "skip"},
            {"type": "schedule", "value": "0 9 * * 1", "timezone": "Europe/Vienna", "dst": "skip"},
        ),
    ],
    "retry": [
        (
            {"attempts": 4, "delay": "1 minute", "backoff": "fixed"},
            {"enabled": True, "attempts": 4, "delay": 60_000, "backoff": FIXED},
        ),
        (
            {"enabled": False, "attempts": 2.0, "delay": 0, "backoff": {"type": "fixed"}},
            {"enabled": False, "attempts": 2, "delay": 0, "backoff": FIXED},
        ),
    ],
    "priority": [(7, 7), (-20.0, -20), ("highest", 20)],
    "concurrency": [(0, 0), (9, 9), (10_000.0, 10_000)],
    "globalConcurrency": [(1, 1), (500, 500)],
    "slots": [(1, 1), (1_000_000, 1_000_000)],
    "lockLifetime": [(60_000, 60_000), ("5 minutes", 300_000)],
    "maxExecutionTime": [(100, 100), ("1 hour", 3_600_000)],
    "execution": [("inline", "inline"), ("process", "process")],
}
"""For each field what a person may write, and the form in which it comes into force. The jobs are `async def`."""
WHOLE = {"priority": (-20, 20), "concurrency": (0, 10_000), "globalConcurrency": (1, 10_000), "slots": (1, 1_000_000)}
LENGTHS = {"lockLifetime": (1_000, 30 * 86_400_000), "maxExecutionTime": (100, 365 * 86_400_000)}
INSIDE = {
    "schedule": ("type", "value", "timezone", "dst", "misfire", "jitter", "startDate", "endDate", "exclude"),
    "retry": ("enabled", "attempts", "delay", "backoff"),
}
OURS = ("configError", "missingSince", "createdAt", "updatedAt", "updatedBy", "runNowRequest", "defaultConfig")
WRITTEN_BY_SERVERS = {*OURS, "checksum", "runNow", "_id"}
MISSPELT = (b"shedule", b"Enabled", b"concurency", b"lock_lifetime", b"retrys")
BAD = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigCase:
    """A document without its `_id`, and what it asks for: `good` fields in force, `bad` ones kept as they were.

    `complains` is None where nobody has said whether this has to be shown as wrong.
    """

    raw: bytes
    pairs: Pairs
    good: Values = field(default_factory=dict)
    bad: frozenset[str] = frozenset()
    complains: bool | None = False

    def in_force(self, before: Mapping[str, Any]) -> Values:
        """The overrides after it, given those before it."""
        return self.good | {name: before[name] for name in self.bad if name in before}


class ConfigCases:
    """Draws documents for one job after another."""

    def __init__(self, random: Random, *, checksum: str) -> None:
        self._random, self._nonsense, self._checksum = random, Nonsense(random), checksum

    def draw(self, name: str) -> ConfigCase:
        """Real fields, some of them spoilt, and some that are nobody's."""
        random = self._random
        written: list[tuple[str, Element, Any]] = []
        for each in random.sample(list(GOOD), random.randint(0, 6)):
            value, meant = random.choice(GOOD[each])
            written.append((each, of(value), meant))
        for each in random.sample([*GOOD, "runNow"], random.randint(0, 3)):
            written.append((each, *self._spoilt(each)))
        random.shuffle(written)
        pairs = pairs_of({"jobName": name, "checksum": self._checksum})
        pairs += [(each.encode(), item) for each, item, _ in written]
        misspelt = random.random() < 0.05
        if misspelt:
            pairs.append((random.choice(MISSPELT), self._nonsense.value()))
        pairs += self._strange_fields()
        return self._judged(pairs, written, misspelt=misspelt)

    def _judged(self, pairs: Pairs, written: list[tuple[str, Element, Any]], *, misspelt: bool) -> ConfigCase:
        last = {each: meant for each, _, meant in written}  # of a key that repeats the last one is read
        good = {each: meant for each, meant in last.items() if meant is not BAD and meant is not None}
        good.pop("runNow", None)
        bad = frozenset(each for each, meant in last.items() if meant is BAD)
        complains = True if misspelt or bad else (False if not self._has_own_keys(pairs) else None)
        return ConfigCase(raw=document(pairs), pairs=pairs, good=good, bad=bad - {"runNow"}, complains=complains)

    def _has_own_keys(self, pairs: Pairs) -> bool:
        """A key of somebody's own may look like a misspelt one of ours."""
        known = {*GOOD, *WRITTEN_BY_SERVERS, "jobName"}
        return any(key.decode("utf-8", "replace") not in known for key, _ in pairs)

    def _spoilt(self, name: str) -> tuple[Element, Any]:
        """Nonsense in place of a field's value or, where it has parts, of one of them; and what it means."""
        if name in INSIDE and self._random.random() < 0.4:
            base, _ = self._random.choice([each for each in GOOD[name] if isinstance(each[0], dict)])
            nonsense = self._nonsense.never()
            if value_of(nonsense) is None:  # says nothing: the part is absent
                return of(None), None
            parts = [(key.encode(), of(value)) for key, value in base.items()]
            spoilt = self._random.choice(INSIDE[name]).encode()
            unread = base.get("type") == "manual"
            item = mapping([*(each for each in parts if each[0] != spoilt), (spoilt, nonsense)])
            return item, _as_our_parser_says(name, item) if unread else BAD
        bounds = WHOLE.get(name) or LENGTHS.get(name)
        if bounds is not None and self._random.random() < 0.4:
            item = of(self._random.choice((int, float))(self._random.choice(bounds) + self._random.choice((-1, 0, 1))))
        else:
            item = self._nonsense.value()
        return item, meaning(name, item)

    def _strange_fields(self) -> Pairs:
        random, pairs = self._random, []
        if random.random() < 0.3:
            pairs += [(self._nonsense.key(), self._nonsense.value()) for _ in range(random.randint(1, 3))]
        if random.random() < 0.2:
            pairs.append((random.choice(OURS).encode(), self._nonsense.value()))
        return [(key, item) for key, item in pairs if key not in (b"name", b"type")]


def meaning(name: str, item: Element) -> Any:
    """What a value means in a field: None for nothing, BAD for what cannot be used."""
    value = value_of(item)
    if value is None:
        return None
    if name in ("enabled", "cancelRunning", "runNow"):
        return value if isinstance(value, bool) else BAD
    if name in WHOLE:
        return _whole(value, *WHOLE[name]) if not isinstance(value, str) else _named(name, value)
    if name in LENGTHS and not isinstance(value, str):
        return _length(value, *LENGTHS[name])
    if name == "execution":
        return value if value in ("inline", "process") and isinstance(value, str) else BAD
    return _as_our_parser_says(name, item)


def _named(name: str, value: str) -> Any:
    return 10 if name == "priority" and value == "HIGH" else BAD


def _whole(value: Any, lowest: int, highest: int) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value != math.floor(value) or not lowest <= value <= highest:
        return BAD
    return int(value)


def _length(value: Any, lowest: int, highest: int) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not lowest <= value <= highest:
        return BAD
    return round(value)


def _as_our_parser_says(name: str, item: Element) -> Any:
    """For the few fields that have a language of their own."""
    read = parse_overrides({name: value_of(item)})
    return as_document(read.values)[name] if name in read.values else BAD
