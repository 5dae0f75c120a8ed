"""Never runs here: it is at its concurrency, and its documents wait."""

from jobserver import Job


class Held(Job):
    schedule = "manual"

    async def run(self) -> None:
        pass
