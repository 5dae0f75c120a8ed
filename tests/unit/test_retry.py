"""Retry policies: the waits, the documents that say them, and everything that is no policy."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobserver.errors import ConfigError
from jobserver.retry import LONGEST_MAX_DELAY, BackoffType, Retry

MINUTE = timedelta(minutes=1)
ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=20),
        st.binary(max_size=5),
        st.timedeltas(),
        st.sampled_from(list(BackoffType)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=8), inner, max_size=3),
        st.fixed_dictionaries({}, optional={"enabled": inner, "attempts": inner, "delay": inner, "backoff": inner}),
        st.fixed_dictionaries({}, optional={"type": inner, "factor": inner, "maxDelay": inner, "jitter": inner}),
    ),
    max_leaves=8,
)


def no_luck() -> float:
    raise AssertionError("asked for a random number where there is no jitter")


def waits(policy: Retry) -> list[float]:
    delays: list[float] = []
    while (delay := policy.delay_before(len(delays) + 1, random=no_luck)) is not None:
        delays.append(delay.total_seconds())
    return delays


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [("exponential", [60, 120, 240]), ("linear", [60, 120, 180]), ("fixed", [60, 60, 60])],
)
def test_the_waits_grow_as_the_backoff_says_and_end_after_the_last_attempt(backoff: str, expected: list[float]) -> None:
    assert waits(Retry(attempts=3, delay=MINUTE, backoff=backoff)) == expected


def test_the_factor_is_what_an_exponential_wait_grows_by() -> None:
    assert waits(Retry(attempts=4, delay="1s", factor=10)) == [1, 10, 100, 1000]
    assert waits(Retry(attempts=3, delay="2s", factor=1.5)) == [2, 3, 4.5]


def test_retries_that_are_off_never_come() -> None:
    assert waits(Retry.OFF) == []
    assert waits(Retry(enabled=False, attempts=5)) == []
    assert waits(Retry(attempts=0)) == []


def test_the_default_of_a_job_is_off_with_five_minutes() -> None:
    assert (Retry.OFF.enabled, Retry.OFF.attempts, Retry.OFF.delay) == (False, 0, timedelta(minutes=5))


def test_a_wait_is_cut_at_max_delay_and_then_spread_by_jitter() -> None:
    policy = Retry(attempts=9, delay=MINUTE, max_delay=timedelta(minutes=10), jitter=0.5)
    assert policy.delay_before(9, random=lambda: 0.0) == timedelta(minutes=5)
    assert policy.delay_before(9, random=lambda: 0.5) == timedelta(minutes=10)
    assert policy.delay_before(9, random=lambda: 0.9) == timedelta(minutes=14)


def test_a_max_delay_of_nothing_means_no_wait() -> None:
    assert waits(Retry(attempts=2, delay=MINUTE, max_delay=0)) == [0, 0]


def test_the_thousandth_wait_is_capped_at_a_year_and_overflows_nothing() -> None:
    policy = Retry(attempts=1000, delay=timedelta(days=30), factor=1000)
    assert policy.delay_before(1000, random=no_luck) == LONGEST_MAX_DELAY
    assert policy.delay_before(1001, random=no_luck) is None
    assert Retry(attempts=1000, delay=0, factor=1000).delay_before(1000, random=no_luck) == timedelta(0)


def test_retries_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        Retry().delay_before(0, random=no_luck)


def test_a_run_that_asks_to_be_retried_gets_the_policy_or_three_times_its_delay() -> None:
    own = Retry(attempts=7)
    assert own.for_retryable_error() is own
    for off in (Retry.OFF, Retry(attempts=0)):
        assert waits(off.for_retryable_error()) == [300, 300, 300]


def test_the_documents_short_form_is_exponential_with_factor_two() -> None:
    assert waits(Retry.parse({"enabled": True, "attempts": 3, "delay": 60000})) == [60, 120, 240]


def test_the_documents_full_form_is_read_part_by_part() -> None:
    backoff = {"type": "linear", "factor": 3, "maxDelay": 90_000, "jitter": 0.25}
    assert Retry.parse({"enabled": False, "attempts": 4.0, "delay": "30s", "backoff": backoff}) == Retry(
        enabled=False, attempts=4, delay="30s", backoff="linear", factor=3, max_delay="90s", jitter=0.25
    )


@pytest.mark.parametrize(
    ("source", "meant"),
    [
        ({}, Retry()),
        (True, Retry()),
        (False, Retry.OFF),
        (5, Retry(attempts=5)),
        ({"backoff": "fixed"}, Retry(backoff=BackoffType.FIXED)),
        ({"backoff": {}}, Retry()),
        (Retry(attempts=9), Retry(attempts=9)),
    ],
)
def test_short_sources_mean_what_they_look_like(source: object, meant: Retry) -> None:
    assert Retry.parse(source) == meant


@pytest.mark.parametrize(
    ("source", "field", "advice"),
    [
        (None, "retry", "not a retry policy"),
        ("3 times", "retry", "not a retry policy"),
        ([], "retry", "a value of type list"),
        (-1, "retry.attempts", "-1 is not between 0 and 1000"),
        ({"atempts": 3}, "retry", "did you mean 'attempts'?"),
        ({5: 3}, "retry", "unknown key 5"),
        ({"enabled": "yes"}, "retry.enabled", "neither true nor false"),
        ({"enabled": 1}, "retry.enabled", "neither true nor false"),
        ({"attempts": True}, "retry.attempts", "not a number"),
        ({"attempts": 1001}, "retry.attempts", "between 0 and 1000"),
        ({"attempts": 2.5}, "retry.attempts", "not a whole number"),
        ({"attempts": float("nan")}, "retry.attempts", "between 0 and 1000"),
        ({"delay": "soon"}, "retry.delay", "not a length of time"),
        ({"delay": "31 days"}, "retry.delay", "between 0 seconds and 30 days"),
        ({"delay": None}, "retry.delay", "not a length of time"),
        ({"backoff": "exponental"}, "retry.backoff", "did you mean 'exponential'?"),
        ({"backoff": 2}, "retry.backoff", "not a kind of backoff"),
        ({"backoff": {"type": "Linear"}}, "retry.backoff.type", "did you mean 'linear'?"),
        ({"backoff": {"factr": 2}}, "retry.backoff", "did you mean 'factor'?"),
        ({"backoff": {"factor": 0.5}}, "retry.backoff.factor", "between 1 and 1000"),
        ({"backoff": {"maxDelay": "2 years"}}, "retry.backoff.maxDelay", "no fixed length"),
        ({"backoff": {"maxDelay": "366d"}}, "retry.backoff.maxDelay", "365 days"),
        ({"backoff": {"jitter": 2}}, "retry.backoff.jitter", "between 0 and 1"),
    ],
)
def test_a_bad_part_is_refused_by_its_path_in_the_document(source: object, field: str, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Retry.parse(source)
    assert caught.value.field == field
    assert advice in caught.value.message


def test_the_path_begins_where_the_caller_says() -> None:
    with pytest.raises(ConfigError) as caught:
        Retry.parse({"backoff": {"type": "x"}}, field="defaultConfig.retry")
    assert caught.value.field == "defaultConfig.retry.backoff.type"


def test_an_invalid_policy_cannot_be_made_in_code_either() -> None:
    with pytest.raises(ConfigError, match=r"retry\.attempts"):
        Retry(attempts=-1)
    with pytest.raises(ConfigError, match=r"retry\.max_delay"):
        dataclasses.replace(Retry(), max_delay=timedelta(days=999))


def test_a_huge_unknown_key_is_refused_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Retry.parse({"x" * 10**6: 1})
    assert len(caught.value.message) < 200


POLICIES = st.builds(
    Retry,
    enabled=st.booleans(),
    attempts=st.integers(0, 1000),
    delay=st.timedeltas(timedelta(0), timedelta(days=30)),
    backoff=st.sampled_from(BackoffType),
    factor=st.floats(1, 1000),
    max_delay=st.none() | st.timedeltas(timedelta(0), timedelta(days=365)),
    jitter=st.floats(0, 1),
)


@given(POLICIES)
def test_a_policy_survives_the_document(policy: Retry) -> None:
    assert Retry.parse(policy.to_document()) == policy


def test_the_document_is_camel_case_and_milliseconds_without_what_does_not_apply() -> None:
    plain = Retry(attempts=3, delay=MINUTE).to_document()
    assert plain == {
        "enabled": True,
        "attempts": 3,
        "delay": 60_000,
        "backoff": {"type": "exponential", "factor": 2.0},
    }
    full = Retry(max_delay="1h", jitter=0.5).to_document()
    assert (full["backoff"]["maxDelay"], full["backoff"]["jitter"]) == (3_600_000, 0.5)
    assert type(plain["backoff"]["type"]) is str  # a plain string is what every driver can store


@given(POLICIES, st.integers(1, 1001), st.floats(0, 1, exclude_max=True))
def test_every_wait_is_a_length_within_the_cap(policy: Retry, retry: int, luck: float) -> None:
    wait = policy.delay_before(retry, random=lambda: luck)
    if policy.enabled and retry <= policy.attempts:
        assert wait is not None
        longest = LONGEST_MAX_DELAY if policy.max_delay is None else policy.max_delay
        assert timedelta(0) <= wait <= longest * (1 + policy.jitter) + timedelta(milliseconds=1)
    else:
        assert wait is None


@given(ANYTHING)
def test_whatever_stands_in_a_document_is_a_policy_or_a_config_error(source: Any) -> None:
    try:
        policy = Retry.parse(source)
    except ConfigError:
        return
    assert Retry.parse(policy.to_document()) == policy


def test_a_policy_says_itself_in_words() -> None:
    assert Retry.OFF.describe() == "off"
    assert Retry(attempts=3, delay="1 minute").describe() == "3 x after 1 minute, exponential"
