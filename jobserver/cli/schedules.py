"""The commands about schedules: their words and flags. What they do is imported when it is asked for."""

# Annotations are not postponed here: Typer would compile each one from its text, 7 ms at every start.
from typing import Annotated

import typer

from jobserver.cli.options import ConfigOption, DatabaseOption, JsonOption, NameArgument, UriOption, Where

SCHEDULE_EPILOG = """\b
Examples:
    jobserver schedule api:report '0 6 * * 1-5' --zone Europe/Berlin
    jobserver schedule api:report 'every weekday at 9:00' --exclude 12-25,01-01 --jitter '30 seconds'
"""

NEXT_EPILOG = """\b
What can be read as a schedule is one, and no database is asked. What cannot, and begins with a word like
api:report or is a single word, is a job's name: the schedule that its servers follow is shown.

\b
Examples:
    jobserver next 'every weekday at 9:00' --zone Europe/Berlin
    jobserver next '30 2 * * *' --zone America/New_York --dst skip -n 400
    jobserver next api:report
"""

ZoneOption = Annotated[
    str | None, typer.Option("--zone", "--timezone", "-z", metavar="ZONE", help="Name such as Europe/Berlin. [UTC]")
]
DstOption = Annotated[
    str | None,
    typer.Option("--dst", metavar="POLICY", help="When clocks change: skip, next_valid, first, both. [default]"),
]


def schedule(
    name: NameArgument,
    expr: Annotated[
        str,
        typer.Argument(metavar="EXPR", help="Cron, 'every weekday at 9:00', '5 minutes', an ISO moment, now, manual."),
    ],
    *,
    zone: ZoneOption = None,
    dst: DstOption = None,
    misfire: Annotated[
        str | None,
        typer.Option("--misfire", metavar="POLICY", help="Missed runs: latest, skip, all, 'all(max=10)'. [latest]"),
    ] = None,
    jitter: Annotated[
        str | None, typer.Option("--jitter", metavar="LENGTH", help="Up to so late, by chance: '30 seconds'.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="MOMENT", help="Not before; an interval counts from it.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--end", metavar="MOMENT", help="Not after; a date alone is the end of that day.")
    ] = None,
    exclude: Annotated[
        str | None, typer.Option("--exclude", metavar="DATES", help="Not on 12-25,2026-05-01,weekend …")
    ] = None,
    config: ConfigOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a job another schedule; what its class says comes back with `rollback` or new code."""
    from jobserver.cli.answer import deliver
    from jobserver.cli.commands.edit import schedule

    options = {"timezone": zone, "dst": dst, "misfire": misfire, "jitter": jitter}
    bounds = {"start": start, "end": end, "exclude": exclude}
    where = Where(config=config, uri=uri, database=database)
    deliver(schedule(where, name, expr, options | bounds), as_json=as_json)


def next_moments(
    text: Annotated[str, typer.Argument(metavar="NAME|EXPR", help="A job, or any schedule: 'every monday at 9:00'.")],
    *,
    zone: ZoneOption = None,
    dst: DstOption = None,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", min=1, max=1000, help="So many moments.")] = 10,
    config: ConfigOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show when a job or a schedule runs next: in its zone and in UTC, and what a change of clocks does to it.

    --zone is the zone that an expression is read in; for a job it is only the one that its moments are shown in.
    --dst is for expressions; a job's own is changed with `jobserver schedule`.
    """
    from jobserver.cli.answer import deliver
    from jobserver.cli.commands.next import next_moments

    where = Where(config=config, uri=uri, database=database)
    deliver(next_moments(where, text, count=count, zone=zone, dst=dst), as_json=as_json)
