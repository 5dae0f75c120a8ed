"""Options that several commands share, and what they say about the project they mean. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

LimitOption = Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=10_000, help="At most so many.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The job's name, such as api:report.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="config.yaml or its directory. [./config.yaml if there is one]"
    ),
]
UriOption = Annotated[
    str | None, typer.Option("--mongodb-uri", metavar="URI", help="Where MongoDB is. [mongodb.uri of the settings]")
]
DatabaseOption = Annotated[
    str | None, typer.Option("--database", metavar="NAME", help="Its database. [mongodb.database of the settings]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer with one JSON document.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which project and which MongoDB a command is about, as its flags say."""

    config: Path | None = None
    uri: str | None = None
    database: str | None = None

    @property
    def flags(self) -> dict[str, Any]:
        """The flags in the shape of config.yaml, which they stand above."""
        return {"mongodb": {"uri": self.uri, "database": self.database}}
