"""How small the packages of the standard library become when they are compressed, in the collection `sizes`.

Shows a run in a process of its own, under limits, with children: two at a time compress. Whatever ends the run ends
them, too. What it prints is in its log (`jobserver logs`).
"""

import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobserver import Job

AT_ONCE = 2
COMPRESS = """
import sys, zlib
from pathlib import Path
sources = b"".join(path.read_bytes() for path in sorted(Path(sys.argv[1]).rglob("*.py")))
print(sys.argv[1], len(sources), len(zlib.compress(sources, 9)))
"""


class Sizes(Job):
    schedule = "at 4:00 am"
    execution = "process"
    max_execution_time = "10 minutes"
    limits = {"memory": "1 GB", "nice": 10}  # noqa: RUF012 - read once, when the file is loaded

    def run(self, db: Any, progress: Any) -> dict[str, int]:
        library = Path(sysconfig.get_path("stdlib"))
        packages = sorted(path.parent for path in library.glob("*/__init__.py"))
        for done, package in enumerate(self.compressed(packages), start=1):
            name, size, compressed = package.rsplit(maxsplit=2)
            entry = {"bytes": int(size), "compressed": int(compressed)}
            db.sizes.update_one({"_id": Path(name).name}, {"$set": entry}, upsert=True)
            progress(len(packages), done, Path(name).name)
            print(f"{Path(name).name}: {int(size):,} bytes, compressed {int(compressed):,}")
        return {"packages": len(packages)}

    @staticmethod
    def compressed(packages: list[Path]) -> Iterator[str]:
        """A line for each package, as it is told by the child that compressed it."""
        waiting, running = list(packages), []
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                command = [sys.executable, "-c", COMPRESS, str(waiting.pop(0))]
                running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            said, _ = running.pop(0).communicate()
            yield said.strip()
