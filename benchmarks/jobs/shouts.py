"""Jobs that log far too much, and one that tells how late the event loop is meanwhile."""

import asyncio
import time

from jobserver import Job

LINE = "x" * 1_000
AT_ONCE = 100


class Inline(Job):
    name = "api:shouts_inline"
    schedule = "manual"

    async def run(self, log, data):
        said = 0
        began = time.monotonic()
        while (passed := time.monotonic() - began) < data["seconds"]:
            if said < passed * data["per_second"]:
                for _ in range(AT_ONCE):
                    log.info(LINE)
                said += AT_ONCE
            await asyncio.sleep(0.001)
        return {"said": said}


class Thread(Job):
    name = "api:shouts_thread"
    schedule = "manual"

    def run(self, log, data):
        said = 0
        began = time.monotonic()
        while (passed := time.monotonic() - began) < data["seconds"]:
            if said < passed * data["per_second"]:
                for _ in range(AT_ONCE):
                    log.info(LINE)
                said += AT_ONCE
            time.sleep(0.001)
        return {"said": said}


class Process(Job):
    """Prints, past our own logger."""

    name = "api:shouts_process"
    schedule = "manual"
    execution = "process"

    def run(self, data):
        said = 0
        began = time.monotonic()
        while (passed := time.monotonic() - began) < data["seconds"]:
            if said < passed * data["per_second"]:
                for _ in range(AT_ONCE):
                    print(LINE)
                said += AT_ONCE
            time.sleep(0.001)
        return {"said": said}


class Lag(Job):
    """How many milliseconds each of its short sleeps was too long: sorted, at most 1000 of them."""

    name = "api:lag"
    schedule = "manual"

    async def run(self, data):
        late = []
        began = time.monotonic()
        while time.monotonic() - began < data["seconds"]:
            slept = time.monotonic()
            await asyncio.sleep(0.01)
            late.append(1e3 * (time.monotonic() - slept - 0.01))
        late.sort()
        return {"p50": late[len(late) // 2], "p99": late[len(late) * 99 // 100], "worst": late[-1]}
