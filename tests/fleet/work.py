"""What a fleet is given to do: documents that are due once a second, in every form in which that can be said."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import cycle, islice
from typing import Any

from jobserver import SyncJobClient
from tests.fleet.check import SECOND, Expected
from tests.project import Project

CALLED = """
async def called(db, context):
    await note(db, name=context.name, due=context.scheduled_at, run=context.run_id)
    await asyncio.sleep(random.random() * 0.1)

"""
ONE = """
class {form}{number}(Job):
    name = "{form}:{number}"
    schedule = {schedule}
    async def run(self, db, context):
        await called(db, context)
"""
TASKS = """
class Tasks(Job):
    schedule = "manual"
    concurrency = {concurrency}
    async def run(self, db, context):
        await called(db, context)
"""
FORMS = {"Cron": '"* * * * * *"', "Words": '"every second"', "Length": "timedelta(seconds=1)"}
RECURRENCES: tuple[Any, ...] = ("* * * * * *", SECOND, "every second")
TASKS_NAME = "api:tasks"


def write_jobs(project: Project, count: int) -> None:
    """So many classes, each form in its turn, and one more for the tasks."""
    for turn, (form, schedule) in enumerate(FORMS.items()):
        numbers = range(turn, count, len(FORMS))
        classes = (ONE.format(form=form, number=number, schedule=schedule) for number in numbers)
        project.job(form.lower(), "import random\n" + CALLED + "".join(classes))
    project.job("tasks", "import random\n" + CALLED + TASKS.format(concurrency=1_000))


def schedule_tasks(project: Project, count: int, *, start: datetime) -> list[Expected]:
    """So many tasks that begin with `start`, a whole second; what counts from its start has one between seconds."""
    client = SyncJobClient(project.db)
    expected = []
    for number, recurrence in enumerate(islice(cycle(RECURRENCES), count)):
        first = start if recurrence == RECURRENCES[0] else start + timedelta(milliseconds=number * 37 % 1000)
        task = client.schedule(TASKS_NAME, {"n": number}, start_at=first, recurrence=recurrence)
        expected.append(Expected(job=str(task.id), first=first, last=first))
    return expected


def holders(project: Project, *, begin: datetime) -> list[Expected]:
    """The documents of the classes; cron beats with the clock, the other forms with the moment they were made."""
    documents = project.jobs.find({"type": "single"}, {"name": 1, "anchorAt": 1})
    return [
        Expected(job=str(document["_id"]), first=(first := _first(document, begin)), last=first)
        for document in documents
    ]


def _first(document: dict[str, Any], begin: datetime) -> datetime:
    if document["name"].startswith("Cron"):
        return begin
    anchor: datetime = document["anchorAt"]
    return begin + (anchor - begin) % SECOND
