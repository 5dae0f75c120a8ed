"""Two files, one name: whoever is in force keeps it, and both paths are told."""

from __future__ import annotations

from itertools import islice, permutations

import pytest

from jobserver.definition import JobDefaults, JobDefinition
from jobserver.job import Job
from jobserver.scanner.claims import Claims, settle_claims
from jobserver.schedule import Schedule

NOTHING = Claims(definitions={}, refused=())


class Nightly(Job):
    schedule = "manual"


def claim(path: str, name: str = "api:nightly", checksum: str = "1") -> JobDefinition:
    return JobDefinition(
        name=name,
        path=path,
        checksum=checksum,
        job_class=Nightly,
        is_async=False,
        wants=(),
        defaults=JobDefaults(schedule=Schedule.parse("manual")),
    )


@pytest.mark.parametrize("order", list(islice(permutations(["/a.py", "/b.py", "/c.py", "/d.py"]), 0, 24, 2))[:10])
def test_the_first_to_arrive_keeps_the_name_in_any_order(order: tuple[str, ...]) -> None:
    claims, present = NOTHING, []
    for path in order:
        present.append(claim(path))
        claims = settle_claims(present, claims.definitions)
    assert claims.definitions == {"api:nightly": claim(order[0])}
    assert sorted(problem.path for problem in claims.refused) == sorted(order[1:])
    for problem in claims.refused:
        assert problem.path in problem.message
        assert f"already taken by {order[0]}" in problem.message
        assert problem.job_name == "api:nightly"


def test_at_the_first_look_the_first_by_path_has_it_however_they_are_listed() -> None:
    for order in permutations(["/a.py", "/b.py", "/c.py"]):
        assert settle_claims([claim(path) for path in order], {}).definitions["api:nightly"].path == "/a.py"


def test_a_new_version_of_the_holder_replaces_its_old_one() -> None:
    before = settle_claims([claim("/b.py")], {})
    after = settle_claims([claim("/a.py"), claim("/b.py", checksum="2")], before.definitions)
    assert after.definitions["api:nightly"] == claim("/b.py", checksum="2")


def test_the_name_passes_on_when_its_holder_gives_it_up() -> None:
    before = settle_claims([claim("/b.py")], {})
    moved = settle_claims([claim("/a.py"), claim("/b.py", name="api:other")], before.definitions)
    assert {name: each.path for name, each in moved.definitions.items()} == {
        "api:nightly": "/a.py",
        "api:other": "/b.py",
    }
    assert moved.refused == ()
