"""The command about logs of runs: its words and flags. What it does is imported when it is asked for."""

# Annotations are not postponed here: Typer would compile each one from its text, 7 ms at every start.
from typing import Annotated

import typer

from jobserver.cli.options import ConfigOption, DatabaseOption, UriOption, Where

LOGS_EPILOG = """\b
Examples:
    jobserver logs 6740c2f09b1e8a5d3c7f1a20:3 --follow
    jobserver logs 6740c2f09b1e8a5d3c7f1a20 --level warning
    jobserver logs 6740c2f09b1e8a5d3c7f1a20 --json | jq -r .message
"""


def logs(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run that `runs` lists; or a job document: its newest run.")
    ],
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Stay, and show more until the run has ended.")
    ] = False,
    level: Annotated[
        str | None,
        typer.Option("--level", "-l", metavar="LEVEL", help="From debug, info, warning, error or critical on. [all]"),
    ] = None,
    config: ConfigOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The lines as they are stored, one JSON object each.")
    ] = False,
) -> None:
    """Show what a run has logged, also while it is under way on another machine."""
    from jobserver.cli.commands.logs import logs

    where = Where(config=config, uri=uri, database=database)
    logs(where, run, follow=follow, level=level, as_json=as_json)
