"""Three jobs that do not listen when they are told to stop: one of each kind of execution."""

import asyncio
import os
import signal
import subprocess
import time
from contextlib import suppress
from typing import Any

from jobserver import Job


class StuckCoroutine(Job):
    name = "stuck_inline"
    schedule = "manual"

    async def run(self, db: Any, data: Any) -> None:
        if data.get("quick"):
            return
        await db.begun.insert_one({"pid": os.getpid()})
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)


class StuckThread(Job):
    name = "stuck_thread"
    schedule = "manual"

    def run(self, db: Any, data: Any) -> None:
        if data.get("quick"):
            return
        db.begun.insert_one({"pid": os.getpid()})
        while True:
            with suppress(BaseException):
                time.sleep(0.5)


class StuckProcess(Job):
    """With a child of its own, in a session of its own."""

    name = "stuck_process"
    schedule = "manual"
    execution = "process"

    def run(self, db: Any, data: Any) -> None:
        if data.get("quick"):
            return
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "3600"], start_new_session=True)
        db.begun.insert_one({"pid": os.getpid(), "child": child.pid})
        while True:
            with suppress(BaseException):
                time.sleep(0.5)
