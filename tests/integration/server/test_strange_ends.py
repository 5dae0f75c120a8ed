"""What a job may leave behind at its end, in each kind of execution: kept byte for byte, or refused for a reason.

Every case is a run on the same server process, which lives on; nothing is left running.
"""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from jobserver.store.codec import CODEC
from tests.project import Project, until

RAW: CodecOptions[RawBSONDocument] = CODEC.with_options(document_class=RawBSONDocument)
KINDS = pytest.mark.parametrize(
    ("execution", "form"), [("inline", "async def"), ("thread", "def"), ("process", "def"), ("process", "async def")]
)
JOB = """
import bson, collections, collections.abc, decimal, enum, fractions, sys, types, uuid
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef

{cases}

class Leaves(Job):
    schedule = "manual"
    concurrency = 10
    execution = "{execution}"
    {form} run(self, data):
        return CASES[data["case"]]()
"""
KEPT = {
    "text like an expression": '"$lock.id"',
    "text like a variable": '"$$ROOT"',
    "nothing but a dollar": '"$"',
    "text with a zero": r'"a\x00b"',
    "text that turns a line around": r'"\u202egnihton \x1b[2J"',
    "keys like operators": '{"$where": "1", "$set": {"a": 1}, "$literal": 1}',
    "keys with dots": '{"a.b": {".": {"": {}}}}',
    "whole numbers": "[0, -1, 2**31, -2**63, 2**63 - 1, Int64(3)]",
    "numbers": '[0.0, -0.0, 1e308, 5e-324, float("inf"), -float("inf"), float("nan")]',
    "decimals": '[Decimal128("1.10"), Decimal128("NaN"), Decimal128("1E+6144"), Decimal128("-0")]',
    "moments": "[datetime(1, 1, 1, tzinfo=UTC), DatetimeMS(2**63 - 1), DatetimeMS(-2**63), datetime(2026, 1, 1)]",
    "bytes": r'[b"\x00\xff", Binary(b"x", 5), Binary(bytes(16), 4), Binary(b"y", 128)]',
    "kinds of their own": '[ObjectId("6" * 24), Regex("^a", "i"), Timestamp(1, 2), MinKey(), MaxKey()]',
    "code": '[Code("x"), Code("y", {"a": 1})]',
    "a reference": 'DBRef("c", {"a": 1}, "d", more=[1])',
    "a tuple": "(1, (2,), [])",
    "an ordered mapping": "collections.OrderedDict(b=1, a=collections.defaultdict(list, x=[1]))",
    "numbers with names": '[enum.IntEnum("N", "ONE").ONE, True]',
    "99 levels": "functools_reduce(lambda deep, _: [deep], range(97), [])",
    "almost too much": '"x" * (1024 * 1024 - 20)',
    "a mapping that cannot be shown": "Unshown(a=1)",
    "bson as it is": 'RawBSONDocument(bson.encode({"a": {"$b": 1}}))',
}
REFUSED = {
    "a set": ("{1, 2}", "result"),
    "deep inside": ('{"a": [1, {"b": {1}}]}', "result.a[1].b"),
    "too large a number": ("2**63", "result"),
    "too small a number": ("-2**63 - 1", "result"),
    "half a sign": (r'{"half": "\ud800"}', "result.half"),
    "a key with a zero": (r'{"a\x00b": 1}', "result"),
    "a key that is no text": ("{1: 2}", "result"),
    "a day": ("datetime.now(UTC).date()", "result"),
    "a decimal of Python": ('[decimal.Decimal("1.1")]', "result[0]"),
    "a fraction": ("fractions.Fraction(1, 3)", "result"),
    "an id of Python": ("uuid.uuid4()", "result"),
    "a generator": ("(each for each in [1])", "result"),
    "an exception": ('ValueError("x")', "result"),
    "itself": ("recursive()", "result"),
    "150 levels": ("functools_reduce(lambda deep, _: [deep], range(150), [])", "result"),
    "17 MB": ('{"x": "y" * (17 * 1024 * 1024)}', "the limit is 1,048,576"),
    "a number of a foreign kind": ("Scalar()", "result"),
    "a mapping that raises": ("Moody(ValueError('no'))", "result"),
    "a mapping that exits": ("Moody(SystemExit(3))", "result"),
    "a mapping that cancels": ("Moody(asyncio.CancelledError())", "result"),
    "a mapping that is interrupted": ("Moody(KeyboardInterrupt())", ""),
}
RAISED = {
    "words that raise": ("Says(ValueError('no'))", "Says"),
    "words that exit": ("Says(SystemExit(3))", "Says"),
    "words that are interrupted": ("Says(KeyboardInterrupt())", "Says"),
    "words that are none": ("Says(7)", "Says"),
    "words of a kind of their own": ("Says(Stubborn('well'))", "well"),
    "notes that exit": ("Noted('the words')", "the words"),
    "a class without a name": ("Nameless('the words')", "the words"),
    "a class that denies itself": ("Denies('the words')", ""),
    "50 MB of words": ('ValueError("x" * 50_000_000)', "characters left out"),
    "half a sign raised": (r'ValueError("half \ud800")', r"half \ud800"),
    "words that steer a terminal": (r'ValueError("\x1b[2J\u202e\x00")', "\x1b[2J\u202e\x00"),
    "a group in a group": ('BaseExceptionGroup("all", [ExceptionGroup("some", [ValueError("one")])])', "all"),
    "a kind of its own": ('Deepest("very deep")', "very deep"),
    "a long chain": ("chained(2_000)", "the last"),
    "a code that raises": ("Exits()", ""),
}
CASES = """
functools_reduce = __import__("functools").reduce
RawBSONDocument = __import__("bson.raw_bson").raw_bson.RawBSONDocument

def recursive():
    inner = {}
    inner["self"] = inner
    return inner

def chained(length):
    last = ValueError("the first")
    for number in range(length):
        following = ValueError(number)
        following.__cause__ = last
        last = following
    words = ValueError("the last")
    words.__cause__ = last
    return words

class Scalar:
    __array_interface__ = {}
    def item(self): return 1
    def __float__(self): return 1.0
    def __index__(self): return 1

class Moody(collections.abc.Mapping):
    def __init__(self, error): self.error = error
    def __iter__(self): raise self.error
    def __len__(self): return 1
    def __getitem__(self, key): raise self.error

class Says(Exception):
    def __init__(self, words): self.words = words
    def __str__(self):
        if isinstance(self.words, BaseException): raise self.words
        return self.words
    __repr__ = __str__

class Unshown(dict):
    def __repr__(self): raise SystemExit(8)

class Stubborn(str):
    def encode(self, *how, **more): raise RuntimeError("no")
    def __len__(self): raise SystemExit(4)
    def __bool__(self): raise SystemExit(4)

class Noted(Exception):
    @property
    def __notes__(self): raise SystemExit(5)

class Namelessness(type):
    @property
    def __name__(cls): raise SystemExit(6)

class Nameless(Exception, metaclass=Namelessness): pass

class Denies(Exception):
    @property
    def __class__(self): raise SystemExit(7)

class Deepest(BaseException): pass

class Exits(SystemExit):
    @property
    def code(self): raise RuntimeError("no code")
    @code.setter
    def code(self, value): pass

def thrown(error):
    raise error
"""


def source(execution: str, form: str) -> str:
    """A job file with all of it: a table from the name of each case to what the job then does."""
    bodies = KEPT | {what: body for what, (body, _) in REFUSED.items()}
    bodies |= {what: f"thrown({body})" for what, (body, _) in RAISED.items()}
    lines = [f"    {what!r}: lambda: {body},\n" for what, body in bodies.items()]
    table = f"{CASES}\nCASES = {{\n{''.join(lines)}}}\n"
    return JOB.format(cases=table, execution=execution, form=form)


def as_encoded() -> dict[str, bytes]:
    """What the driver makes of each value that can be kept."""
    scope: dict[str, Any] = {}
    exec(PYTHON + source("", "def").partition("class Leaves")[0], scope)
    return {what: bson.encode({"": scope["CASES"][what]()}) for what in KEPT}


@KINDS
async def test_whatever_a_job_leaves_is_kept_byte_for_byte_or_fails_its_run_for_a_reason_and_hurts_no_other(
    project: Project, execution: str, form: str
) -> None:
    name = project.job("leaves", source(execution, form))
    process = await project.process(max_concurrency=4).started()
    ids = {what: project.enqueue(name, {"case": what}) for what in [*KEPT, *REFUSED, *RAISED]}
    over = {"status": {"$in": ["completed", "failed"]}, "lockToken": None}
    await until(lambda: not still_open(project, ids, over), within=90)
    await until(lambda: len(project.runs(name)) == len(ids))
    for what, encoded in as_encoded().items():
        assert results_of(project, ids[what]) == [encoded, encoded], what
    for what, (_, said) in (REFUSED | RAISED).items():
        document = project.document(ids[what])
        assert (document["status"], document["failCount"]) == ("failed", 1), what
        assert said in document["lastError"], (what, document["lastError"][:300])
        assert 0 < len(document["lastError"]) < 5_000, what
        assert "result" not in document, what
    for fault in ("internal fault", "settling broke", "mongodb away", "lock taken back"):
        assert process.records(fault) == []
    assert not process.has_ended()


def still_open(project: Project, ids: dict[str, Any], over: dict[str, Any]) -> list[str]:
    """The cases whose runs have not come to an end."""
    ended = {each["_id"] for each in project.jobs.find(over, {"_id": 1})}
    return [what for what, id_ in ids.items() if id_ not in ended]


def results_of(project: Project, id_: Any) -> list[bytes]:
    """The result in the document and in the history, as they are stored."""
    document = project.jobs.with_options(RAW).find_one({"_id": id_})
    entry = project.db.jobRuns.with_options(RAW).find_one({"jobId": id_})
    assert document is not None
    assert entry is not None
    return [bson.encode({"": each["result"]}, codec_options=CODEC) for each in (document, entry)]


async def test_what_a_job_changes_after_it_has_returned_it_is_stored_as_it_was(project: Project) -> None:
    project.job(
        "leaves",
        """
        KEPT = {"n": 1}
        class Leaves(Job):
            schedule = "manual"
            async def run(self, db):
                asyncio.get_running_loop().call_soon(KEPT.__setitem__, "later", {1, 2})
                return KEPT
        """,
    )
    process = await project.process().started()
    document = await project.ended(project.enqueue("api:leaves"))
    assert document["result"] == {"n": 1}
    assert process.records("settling broke") == []


PYTHON = """
import asyncio, threading
from datetime import UTC, datetime
"""
