"""A checksum changes with the code, and with nothing else: a new one resets what people have configured."""

from __future__ import annotations

import ast

import pytest

from jobserver.scanner.checksum import checksum

PLAIN = """
import os
LIMIT = 3

class One(Job):
    schedule = "manual"
    def run(self, db):
        return {"limit": LIMIT, **os.environ}

class Two(Job):
    def run(self):
        return 2
"""


def of(text: str, *without: str) -> str:
    return checksum(ast.parse(text), without=without)


def test_comments_blank_lines_and_layout_do_not_count() -> None:
    spread = PLAIN.replace("LIMIT = 3", "# how many\n\n\nLIMIT   =   3  # three").replace(
        '{"limit": LIMIT, **os.environ}', '{\n "limit": LIMIT,\n\n   **os.environ, }'
    )
    assert spread != PLAIN
    assert of(spread) == of(PLAIN)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("LIMIT = 3", "LIMIT = 3.0"),
        ("LIMIT = 3", "LIMIT = '3'"),
        ("LIMIT = 3", "LIMIT = True"),
        ("LIMIT = 3", "LIMIT = None"),
        ("LIMIT = 3", "LIMIT = ..."),
        ("LIMIT = 3", "LIMIT = b'3'"),
        ("LIMIT = 3", "LIMIT: int = 3"),
        ("LIMIT = 3", "LIMITS = 3"),
        ("import os", "import os as os"),
        ("def run(self, db)", "async def run(self, db)"),
        ("def run(self, db)", "def run(self, db=None)"),
        ("def run(self, db)", "def run(self, *, db)"),
        ('{"limit": LIMIT, **os.environ}', '{**os.environ, "limit": LIMIT}'),
    ],
)
def test_every_change_of_the_code_counts(before: str, after: str) -> None:
    assert before in PLAIN
    assert of(PLAIN.replace(before, after, 1)) != of(PLAIN)


def test_another_job_in_the_file_does_not_count_but_what_they_share_does() -> None:
    other_changed = PLAIN.replace("return 2", "return 3")
    shared_changed = PLAIN.replace("LIMIT = 3", "LIMIT = 5")
    assert of(other_changed, "Two") == of(PLAIN, "Two")
    assert of(other_changed, "One") != of(PLAIN, "One")
    assert of(shared_changed, "Two") != of(PLAIN, "Two")


def test_a_tree_deeper_than_python_may_recurse_and_numbers_too_long_to_print_are_fine() -> None:
    deep = "X = " + " + ".join(["1"] * 800) + f"\nY = 0x{'f' * 10_000}\n"
    assert of(deep) != of(deep.replace("Y = 0xf", "Y = 0xe"))


def test_the_value_is_pinned_because_every_python_version_must_find_the_same() -> None:
    assert of(PLAIN) == "2bedcf1c57cb47757c25f52ca51b3ab47a44cca110f23c73a35f16487c5740c4"
