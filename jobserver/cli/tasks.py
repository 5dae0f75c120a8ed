"""The commands about tasks: their words and flags. What they do is imported when it is asked for."""

# Annotations are not postponed here: Typer would compile each one from its text, 7 ms at every start.
from typing import Annotated

import typer

from jobserver.cli.options import ConfigOption, DatabaseOption, JsonOption, LimitOption, UriOption, Where

TASKS_EPILOG = "\b\nExample:  jobserver tasks api:report --status scheduled"
CANCEL_EPILOG = (
    "\b\nExamples:  jobserver cancel 6740c2f09b1e8a5d3c7f1a20      this task, for good"
    "\n           jobserver cancel 6740c2f09b1e8a5d3c7f1a20:7    its seventh run alone"
)


def tasks(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this job's.")] = None,
    *,
    status: Annotated[str | None, typer.Option("--status", metavar="STATUS", help="Only in this status.")] = None,
    limit: LimitOption = 100,
    config: ConfigOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List tasks, the newest first: what JobClient.schedule has made, when it recurs, and what it starts after."""
    from jobserver.cli.answer import deliver
    from jobserver.cli.commands.tasks import tasks

    where = Where(config=config, uri=uri, database=database)
    deliver(tasks(where, name, status=status, limit=limit), as_json=as_json)


def cancel(
    ids: Annotated[
        list[str], typer.Argument(metavar="ID", help="Ids of tasks or of any job document; ID:NUMBER is one run.")
    ],
    *,
    config: ConfigOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """End tasks and waiting jobs for good, and what waits to start after them; or one run alone.

    What runs is told to stop, and stopped after cancel_grace if it does not listen.
    """
    from jobserver.cli.answer import deliver
    from jobserver.cli.commands.tasks import cancel

    deliver(cancel(Where(config=config, uri=uri, database=database), ids), as_json=as_json)
