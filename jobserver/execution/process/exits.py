"""What is left to be done at exit: the run's own, not what was registered before it was forked."""

from __future__ import annotations

import atexit
import logging
import sys
import weakref
from typing import Any


def begin_anew() -> None:
    """Forget what the zygote has registered: it is about the zygote, and the driver's would wait for absent threads.

    Three modules of the standard library register themselves but once, for whatever comes later: they do it again.
    """
    atexit._clear()
    atexit.register(logging.shutdown)
    finalize: Any = weakref.finalize
    for each in list(finalize._registry):
        each.atexit = False
    finalize._registered_with_atexit = False
    multiprocessing: Any = sys.modules.get("multiprocessing.util")
    if multiprocessing is not None:
        multiprocessing._finalizer_registry.clear()
        atexit.register(multiprocessing._exit_function)
