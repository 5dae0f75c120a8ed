"""Nothing at all: what is left is the job server's own work."""

from jobserver import Job


class Noop(Job):
    schedule = "manual"

    async def run(self) -> None:
        pass
