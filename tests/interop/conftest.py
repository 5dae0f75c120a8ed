"""The real Pulse library, installed once by npm into a folder of its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.peers.packages import CACHE, NodePackages

HERE = Path(__file__).parent
PULSE = NodePackages({"@pulsecron/pulse": "1.6.8", "tslib": "2.8.1"})
SECONDS = 60

Node = Callable[[str], str]


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """Where Node finds Pulse."""
    folder = CACHE / "interop"
    PULSE.install(folder)
    return folder


@pytest.fixture
def address(mongo_uri: str, database_name: str) -> str:
    """This test's database as Pulse wants to be told of it."""
    return mongo_uri.replace("/?", f"/{database_name}?")


@pytest.fixture
def node(node_folder: Path, address: str) -> Node:
    """Run one of our scripts to its end; what it printed."""

    def run(script: str) -> str:
        # An ES module finds packages beside itself only, so the script moves in with them.
        command = ["node", shutil.copy(HERE / script, node_folder), address]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run
