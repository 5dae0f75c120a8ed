"""Whatever BSON can hold in a field of a configuration is either read or refused, and never raises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import pytest
from bson import Code

from jobserver.manager.overrides import PARSERS, as_document, parse_overrides, validate_config
from tests.fuzz.config_cases import GOOD, INSIDE
from tests.fuzz.elements import value_of
from tests.fuzz.nonsense import NEVER, SCALARS, Nonsense

SEED = 20_261_121
DEEPER = {"misfire": ("type", "max"), "backoff": ("type", "factor", "maxDelay", "jitter")}


def spoilt(name: str, value: Any) -> Iterator[Any]:
    """The value in place of the field, of each of its parts, and of each part of those."""
    yield value
    for base in (written for written, _ in GOOD.get(name, ()) if isinstance(written, dict)):
        for part in INSIDE[name]:
            yield {**base, part: value}
        for part, inner in DEEPER.items():
            if part in INSIDE[name]:
                yield from ({**base, part: {"type": "fixed", key: value}} for key in inner)
    if name == "schedule":
        yield {"type": "schedule", "value": "* * * * *", "exclude": [value]}


@pytest.mark.parametrize("name", PARSERS)
def test_every_kind_of_value_in_every_part_of_a_field_is_read_or_refused(name: str) -> None:
    for value in map(value_of, SCALARS):
        for written in spoilt(name, value):
            read = parse_overrides({name: written})
            assert written is None or (name in read.values) is not bool(read.errors)
            assert parse_overrides(as_document(read.values)).values == read.values
            assert all(len(str(error)) < 1_000 for error in validate_config({name: written}))


@pytest.mark.parametrize("name", [name for name in PARSERS if name not in ("schedule", "retry")])
def test_what_means_nothing_anywhere_is_refused(name: str) -> None:
    for value in map(value_of, NEVER):
        read = parse_overrides({name: value})
        assert value is None or (read.errors and not read.values), value


def test_documents_of_nonsense_are_read() -> None:
    nonsense = Nonsense(Random(SEED))
    for number in range(1_500):
        document = {name: value_of(nonsense.value()) for name in PARSERS}
        assert isinstance(parse_overrides(document).values, Mapping), (SEED, number)


def test_a_list_of_names_is_refused_though_mongodb_finds_it_by_each_of_them() -> None:
    (error,) = validate_config({"jobName": ["api:report"], "priority": 3})
    assert error.field == "jobName"


@pytest.mark.parametrize("timezone", ["Europe/Vienna", "Nowhere/At_All"])
def test_code_of_bson_is_text_like_any_other(timezone: str) -> None:
    """Its type is a kind of `str` that cannot be hashed."""
    spelt = {"schedule": {"type": "schedule", "value": Code("0 9 * * 1"), "timezone": Code(timezone)}}
    plain = {"schedule": {"type": "schedule", "value": "0 9 * * 1", "timezone": timezone}}
    assert as_document(parse_overrides(spelt).values) == as_document(parse_overrides(plain).values)
    assert [str(error) for error in validate_config(spelt)] == [str(error) for error in validate_config(plain)]
