"""`python -m jobserver` is the command `jobserver`."""

from __future__ import annotations

from jobserver.cli import main

if __name__ == "__main__":
    main()
