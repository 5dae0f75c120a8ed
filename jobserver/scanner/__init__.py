"""Files to job definitions: finds job files, tries them where they can do no harm, loads those that pass.

    JobSources     which files are job files, and under which category
    Prober         a throw-away subprocess in which each new or changed file is imported first, under limits
    load           a file that passed, imported into this process under a name of its own
    Scanner        keeps what is in force between scans: last good versions, broken files, who holds which name
    Watcher        says when the files have changed and come to rest

Guarantees: a file that hangs, exits, forks, floods or eats memory while it is imported becomes a ScanProblem, never a
fault of the server; a file is taken in as a whole or not at all, and its last good version stays in force until a
better one or its removal; of two files that claim one name the one in force keeps it.
Limits: what a file does only in the server (where it finds credentials that a probe is not given, say) is not caught.
Modules that job files import from the project are ordinary modules: a change in one takes effect at the next start.

Knows no database.
"""

from __future__ import annotations

from jobserver.scanner.scanner import Scanner
from jobserver.scanner.sources import JobSources
from jobserver.scanner.watcher import Watcher

__all__ = ["JobSources", "Scanner", "Watcher"]
