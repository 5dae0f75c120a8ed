"""Every command: its words, its flags, its example. What it does is imported when it is asked for."""

# Annotations are not postponed here: Typer would compile each one from its text, 7 ms at every start.
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobserver.cli.help import Command
from jobserver.cli.logs import LOGS_EPILOG, logs
from jobserver.cli.options import (
    ConfigOption,
    DatabaseOption,
    JsonOption,
    LimitOption,
    NameArgument,
    UriOption,
    Where,
)
from jobserver.cli.schedules import NEXT_EPILOG, SCHEDULE_EPILOG, next_moments, schedule
from jobserver.cli.tasks import CANCEL_EPILOG, TASKS_EPILOG, cancel, tasks

if TYPE_CHECKING:
    from jobserver.cli.answer import Answer

START_EPILOG = """\b
Example:  jobserver start --workers 4

\b
Exit codes:
    0  ended in order: SIGTERM or SIGINT, and everything was given back
    1  could not start: settings, or no MongoDB and --no-wait
    2  wrong usage
   69  MongoDB was away, or a job did not let go: others recover what this server held
   70  a fault of jobserver itself, or workers that keep dying
   75  has done enough (recycle_after_runs, recycle_memory): start it again; never under --workers
  130  hurried by a second signal: what still ran was cut off and given back
  131  the same by SIGQUIT, at once; where each thread stood is on stderr
  137  workers were killed: by a third signal, or because they did not end in time
"""

app = typer.Typer(
    name="jobserver",
    help="A job server on MongoDB: drop a Job subclass into jobs/, edit a document to control it.",
    epilog="Begin with:  jobserver init demo && cd demo && jobserver start",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # the help is plain text: nothing to import, nothing to wait for
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

command = partial(app.command, cls=Command)


def _version(wanted: bool) -> None:
    if wanted:
        import jobserver

        typer.echo(f"jobserver {jobserver.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A job server on MongoDB: drop a Job subclass into jobs/, edit a document to control it."""


@command(short_help="Write a project to begin with.", epilog="\b\nExample:  jobserver init demo")
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where; made if it is not there. [.]")] = Path(),
    *,
    as_json: JsonOption = False,
) -> None:
    """Write config.yaml, jobs/hello.py and plugins/; what is there already stays as it is."""
    from jobserver.cli.commands.init import init

    _deliver(init(directory), as_json)


@command(short_help="Run jobs until SIGTERM or Ctrl-C.", epilog=START_EPILOG)
def start(
    *,
    config: ConfigOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    workers: Annotated[
        int, typer.Option("--workers", "-w", metavar="N", min=1, max=256, help="Server processes under one supervisor.")
    ] = 1,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Give up at once when MongoDB is away.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more: debug records, tracebacks.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON log lines, also on a terminal.")] = False,
    as_worker: Annotated[bool, typer.Option("--as-worker", hidden=True)] = False,
) -> None:
    """Run jobs until SIGTERM or Ctrl-C; without mongodb.uri, with a MongoDB of its own.

    On a terminal it shows what was found and each run as it ends; elsewhere it writes JSON log lines to stdout.
    The first signal lets running jobs end within shutdown_grace, a second one cuts that short. Five seconds later
    it has ended, whatever happens.
    """
    from jobserver.cli.commands.start import StartOptions, start

    options = StartOptions(workers=workers, no_wait=no_wait, verbose=verbose, as_json=as_json, as_worker=as_worker)
    raise typer.Exit(start(Where(config=config, uri=uri, database=database), options))


@command(
    short_help="Check settings and job files; needs no database.",
    epilog="\b\nExample, in CI:  jobserver check --config config.yaml",
)
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Read settings and job files as a server would, without a database; exit code 1 if anything is wrong."""
    from jobserver.cli.commands.check import check

    _deliver(check(Where(config=config)), as_json)


@command(short_help="List the jobs: schedule, next run, last run.", epilog="\b\nExample:  jobserver jobs")
def jobs(
    config: ConfigOption = None, uri: UriOption = None, database: DatabaseOption = None, as_json: JsonOption = False
) -> None:
    """List the jobs: enabled, schedule, next run, last run, what runs now."""
    from jobserver.cli.commands.jobs import jobs

    _deliver(jobs(Where(config=config, uri=uri, database=database)), as_json)


@command(
    short_help="Ask for one run of a job, now.",
    epilog='\b\nExample:  jobserver run api:report --data \'{"month": "2026-11"}\' --wait',
)
def run(
    name: NameArgument,
    *,
    data: Annotated[str | None, typer.Option("--data", "-d", metavar="JSON", help="What the job gets as data.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it ends; exit code 0 if it completed.")] = False,
    slots: Annotated[
        int | None, typer.Option("--slots", metavar="N", help="How many of a server's slots it takes.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also for a job that no server has found yet.")] = False,
    config: ConfigOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask for one run of a job, now; its schedule does not move."""
    from jobserver.cli.commands.run import run

    where = Where(config=config, uri=uri, database=database)
    _deliver(run(where, name, data=data, slots=slots, wait=wait, force=force, as_json=as_json), as_json)


@command(short_help="Switch a job's schedule on.", epilog="\b\nExample:  jobserver enable api:report")
def enable(
    name: NameArgument,
    *,
    config: ConfigOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Switch a job's schedule on, on every server."""
    from jobserver.cli.commands.edit import enable

    _deliver(enable(Where(config=config, uri=uri, database=database), name, enabled=True), as_json)


@command(short_help="Switch a job's schedule off.", epilog="\b\nExample:  jobserver disable api:report")
def disable(
    name: NameArgument,
    *,
    config: ConfigOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Switch a job's schedule off, on every server; what runs now runs on."""
    from jobserver.cli.commands.edit import enable

    _deliver(enable(Where(config=config, uri=uri, database=database), name, enabled=False), as_json)


command("schedule", short_help="Give a job another schedule.", epilog=SCHEDULE_EPILOG)(schedule)
command("next", short_help="Show when a job or a schedule runs next.", epilog=NEXT_EPILOG)(next_moments)


@command(
    short_help="List what runs now and what ran last.", epilog="\b\nExample:  jobserver runs api:report --status failed"
)
def runs(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this job's.")] = None,
    *,
    status: Annotated[
        str | None,
        typer.Option("--status", "-s", metavar="STATUS", help="running, completed, failed, cancelled, skipped."),
    ] = None,
    limit: LimitOption = 20,
    config: ConfigOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what runs now, then what ran last: when, how long, what came of it."""
    from jobserver.cli.commands.runs import runs

    _deliver(runs(Where(config=config, uri=uri, database=database), name, status=status, limit=limit), as_json)


command("logs", short_help="Show what a run has logged, or logs now.", epilog=LOGS_EPILOG)(logs)


@command(short_help="Show servers, and what waits, runs or hangs.", epilog="\b\nExample:  jobserver status")
def status(
    config: ConfigOption = None, uri: UriOption = None, database: DatabaseOption = None, as_json: JsonOption = False
) -> None:
    """Show which servers live, and how much waits, runs, gave up or hangs."""
    from jobserver.cli.commands.status import status

    _deliver(status(Where(config=config, uri=uri, database=database)), as_json)


@command(
    short_help="Say where things are: MongoDB, project, servers.",
    epilog="\b\nExample:  mongosh $(jobserver info --json | jq -r .mongodb_uri)",
)
def info(
    config: ConfigOption = None, uri: UriOption = None, database: DatabaseOption = None, as_json: JsonOption = False
) -> None:
    """Say where things are: project, MongoDB (a running embedded one too), database, servers, versions."""
    from jobserver.cli.commands.status import info

    _deliver(info(Where(config=config, uri=uri, database=database)), as_json)


@command(short_help="List what was changed about a job.", epilog="\b\nExample:  jobserver history api:report")
def history(
    name: NameArgument,
    *,
    limit: LimitOption = 20,
    config: ConfigOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was changed about a job: schedule, retries, limits; when and by whom."""
    from jobserver.cli.commands.history import history

    _deliver(history(Where(config=config, uri=uri, database=database), name, limit=limit), as_json)


@command(short_help="Bring back an earlier configuration.", epilog="\b\nExample:  jobserver rollback api:report 3")
def rollback(
    name: NameArgument,
    version: Annotated[int, typer.Argument(metavar="VERSION", min=1, help="A version that `history` lists.")],
    *,
    config: ConfigOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring back what an earlier version of a job's configuration said."""
    from jobserver.cli.commands.edit import rollback

    _deliver(rollback(Where(config=config, uri=uri, database=database), name, version), as_json)


command("tasks", short_help="List tasks: when each runs, and after which other.", epilog=TASKS_EPILOG)(tasks)
command("cancel", short_help="End a task, or a run in whatever it does.", epilog=CANCEL_EPILOG)(cancel)


@command(short_help="List what gave up.", epilog="\b\nExample:  jobserver dead api:report")
def dead(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this job's.")] = None,
    *,
    full: Annotated[bool, typer.Option("--full", "-f", help="With the whole traceback of each.")] = False,
    limit: LimitOption = 100,
    config: ConfigOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what gave up, and the error that ended it: no retry left, a fatal error, or three crashes."""
    from jobserver.cli.commands.dead import dead

    _deliver(dead(Where(config=config, uri=uri, database=database), name, full=full, limit=limit), as_json)


@command(short_help="Give what gave up one more go.", epilog="\b\nExample:  jobserver retry 6740c2f09b1e8a5d3c7f1a20")
def retry(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids that `dead` lists.")] = None,
    *,
    all_of: Annotated[
        str | None, typer.Option("--all", metavar="NAME", help="All of this job that `dead` lists.")
    ] = None,
    config: ConfigOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give what gave up one more go, now and with all its attempts."""
    from jobserver.cli.commands.dead import retry

    _deliver(retry(Where(config=config, uri=uri, database=database), ids or [], all_of=all_of), as_json)


def _deliver(answer: "Answer", as_json: bool) -> None:
    from jobserver.cli.answer import deliver

    deliver(answer, as_json=as_json)
    raise typer.Exit(answer.exit_code)
