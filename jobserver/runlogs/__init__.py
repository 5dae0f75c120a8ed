"""A log of its own for each run: JSON lines, live while it runs, then in a bucket for as long as retention says.

    record    one record → one line, never longer than its cap
    caps      which records are kept: per second and per run, with a count of the others
    sink      the door of one run: any thread, never blocks, never raises
    writer    one thread: lines → a local file per run
    spool     those files: names, the folder of one server and who owns it
    shipping  one thread: local files → bucket, about once a second while a run is under way
    bucket    the seam: what a bucket is
    folder    a bucket in a folder
    url       a bucket wherever fsspec can write, such as S3
    buckets   which of them the settings mean
    keeper    puts them together

A run that logs nothing makes nothing here. What is in the local file survives the end of the process, also by SIGKILL:
the next server on this machine ships what a dead one has left. A full disk or a bucket that is away costs records or
time, never a run.
"""

from __future__ import annotations

from jobserver.runlogs.bucket import Bucket, LogPart, Piece, RunFacts
from jobserver.runlogs.caps import Caps
from jobserver.runlogs.keeper import LogKeeper

__all__ = ["Bucket", "Caps", "LogKeeper", "LogPart", "Piece", "RunFacts"]
