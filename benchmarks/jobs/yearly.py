"""A schedule that is always far away, except for one moment of the year."""

from jobserver import Job


class Yearly(Job):
    schedule = "0 0 1 1 *"

    async def run(self) -> None:
        pass
