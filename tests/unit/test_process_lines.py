"""What a run writes, cut into lines, and how much of a flood is kept; messages between processes."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from jobserver.errors import DataError
from jobserver.execution.process.endings import Ended, outcome_by
from jobserver.execution.process.lines import LONGEST_LINE, Allowance, Lines
from jobserver.execution.process.wire import LONGEST_DATAGRAM, BadMessage, receive, send, socket_pair
from jobserver.limits import Limits
from jobserver.store.wire import BsonCodec


def lines_of(*pieces: bytes) -> list[str]:
    said: list[str] = []
    lines = Lines(said.append, grants=lambda _size: True)
    for piece in pieces:
        lines.feed(piece)
    lines.end()
    return said


@given(st.lists(st.binary(max_size=20)))
def test_lines_are_the_same_however_the_bytes_arrive(pieces: list[bytes]) -> None:
    assert lines_of(*pieces) == lines_of(b"".join(pieces))


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"on", b"e\nunfinished"], ["one", "unfinished"]),
        ([b"a\r\n\n"], ["a", ""]),
        ([b"\xff\n"], ["\\xff"]),
        (["grü".encode()[:3], "grü".encode()[3:], b"\n"], ["grü"]),
        ([b""], []),
    ],
)
def test_bytes_become_lines(pieces: list[bytes], said: list[str]) -> None:
    assert lines_of(*pieces) == said


def test_a_line_without_end_comes_in_pieces_and_is_never_held_whole() -> None:
    said = lines_of(*[b"x" * 10_000] * 20)
    assert "".join(said) == "x" * 200_000
    assert max(map(len, said)) == LONGEST_LINE


def test_what_is_over_the_allowance_of_a_second_is_counted_and_the_next_second_is_free() -> None:
    now = 10.0
    allowance = Allowance(monotonic=lambda: now, lines=2, size=1000)
    assert [allowance.grants(1) for _ in range(4)] == [True, True, False, False]
    assert (allowance.take_dropped(), allowance.take_dropped()) == (2, 0)
    now = 11.0
    assert [allowance.grants(1000), allowance.grants(1)] == [True, False]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket_pair()
    with near, far:
        yield near, far


@pytest.mark.parametrize("size", [1, LONGEST_DATAGRAM, LONGEST_DATAGRAM + 1, 5_000_000])
def test_messages_of_any_size_arrive_apart_and_whole(pair: tuple[socket.socket, socket.socket], size: int) -> None:
    near, far = pair
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for letter in (b"a", b"b"):
        send(near, letter * size)
    assert [receive(far), receive(far)] == [b"a" * size, b"b" * size]
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_message_over_the_limit_is_refused_before_it_is_read(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    send(near, b"a" * 1_000_000)
    with pytest.raises(BadMessage, match="1,000,000 bytes"):
        receive(far, limit=999_999)


def test_the_end_of_a_line_is_told_and_an_empty_one_is_not_waited_for(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    far.setblocking(False)
    with pytest.raises(BlockingIOError):
        receive(far)
    near.close()
    assert receive(far) is None


def test_what_can_be_stored_can_be_sent_and_nothing_else() -> None:
    codec, moment = BsonCodec(), datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    message = {"id": ObjectId(), "at": moment, "nested": [{"a": None}], "bytes": b"\0"}
    assert codec.decode(codec.encode(message)) == message
    with pytest.raises(DataError):
        codec.encode({"value": object()})
    with pytest.raises(DataError):
        codec.decode(b"nonsense")


@pytest.mark.parametrize(
    ("said", "ended"),
    [
        (b"ended 0 ", Ended(code=0, reason="")),
        (b"ended -9 lease", Ended(code=-9, reason="lease")),
        (b"", None),
        (b"ended soon", None),
        (b"began 1 ", None),
    ],
)
def test_the_last_word_of_a_keeper(said: bytes, ended: Ended | None) -> None:
    assert Ended.parse(said) == ended


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-signal.SIGXCPU, "used up its processor time: limits.cpu is 1 second"),
        (-signal.SIGKILL, "was killed by SIGKILL, as is what goes on after its processor time: limits.cpu is 1 second"),
        (-signal.SIGSEGV, "was killed by SIGSEGV"),
    ],
)
def test_a_run_that_the_kernel_has_killed_says_which_limit_it_may_have_been(code: int, words: str) -> None:
    run: Any = None
    limits = Limits(cpu=timedelta(seconds=1))
    assert outcome_by(Ended(code=code, reason=""), run, limits, told=False).message == words
