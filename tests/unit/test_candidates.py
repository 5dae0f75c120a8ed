"""Which of the ids that were read ahead are ours, when other servers work on the same backlog."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId

from jobserver.store.candidates import WHOLE, Candidate, Candidates, Share
from jobserver.store.documents import Lane

IDS: list[Any] = [*(ObjectId(bytes([7] * 11 + [number])) for number in range(200)), *range(50), "a", {"b": 1}]


def candidates(ids: list[Any], priority: Any = 0) -> list[Candidate]:
    return [Candidate("job", id_, priority) for id_ in ids]


def lane(limit: int) -> Lane:
    return Lane(name="job", limit=limit, lock_lifetime=timedelta(minutes=1))


def picked(waiting: Candidates) -> list[Any]:
    return [candidate.id for candidate in waiting.pick([lane(1000)], 1000)]


@pytest.mark.parametrize("servers", [1, 2, 3, 8])
def test_every_id_is_in_exactly_one_share_and_no_share_is_empty(servers: int) -> None:
    shares = [Share(number, servers) for number in range(servers)]
    owners = [[share for share in shares if share.has(each)] for each in candidates(IDS)]
    assert {len(each) for each in owners} == {1}
    assert min(sum(each == [share] for each in owners) for share in shares) > len(IDS) / servers / 2


def test_of_a_long_backlog_only_our_share_is_tried_and_the_rest_is_known_to_be_there() -> None:
    waiting, share = Candidates(), Share(1, 4)
    waiting.divide(share)
    waiting.put(candidates(IDS), [lane(len(IDS))], len(IDS))
    ours = picked(waiting)
    assert ours == [each.id for each in candidates(IDS) if share.has(each)]
    assert waiting.unfinished() == {"job"}


def test_what_was_read_before_the_backlog_was_shared_is_divided_too() -> None:
    waiting = Candidates()
    waiting.put(candidates(IDS), [lane(1000)], 1000)
    assert waiting.unfinished() == {"job"}
    waiting.divide(Share(0, 2))
    assert 0 < len(picked(waiting)) < len(IDS)
    assert waiting.unfinished() == {"job"}  # what was left to the other must be looked at again, should it not come


def test_what_the_others_leave_lying_is_taken() -> None:
    share = Share(0, 4)
    lying = [each.id for each in candidates(IDS) if not share.has(each)]
    waiting = Candidates()
    waiting.divide(share)
    waiting.put(candidates(lying), [lane(len(lying))], len(lying))
    assert picked(waiting) == lying


def test_the_end_of_a_backlog_is_everybodys() -> None:
    waiting = Candidates()
    waiting.divide(Share(0, 4))
    waiting.put(candidates(IDS[:20]), [lane(100)], 100)
    assert picked(waiting) == IDS[:20]


def test_the_urgent_is_not_left_to_others() -> None:
    waiting = Candidates()
    waiting.divide(Share(0, 4))
    urgent, rest = candidates(IDS[:10], priority=10), candidates(IDS[10:])
    waiting.put([*urgent, *rest], [lane(len(IDS))], len(IDS))
    assert picked(waiting)[:10] == IDS[:10]


def test_a_backlog_that_nobody_shares_any_more_is_ours() -> None:
    waiting = Candidates()
    waiting.divide(Share(0, 4))
    waiting.divide(WHOLE)
    waiting.put(candidates(IDS), [lane(len(IDS))], len(IDS))
    assert picked(waiting) == IDS
