"""`start`: one server in this process, or a supervisor over several."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from jobserver.cli.commands.header import overview, title
from jobserver.cli.options import Where
from jobserver.cli.session import connected
from jobserver.console import Console, console
from jobserver.embedded import EmbeddedMongo
from jobserver.errors import JobServerError
from jobserver.server import JobServer
from jobserver.settings import Settings, load_settings
from jobserver.signals import LastResort, heed_no_more
from jobserver.store.collections import CollectionNames
from jobserver.store.connection import bounded, closed, deciding_sync, sync_client, what_mongodb_said
from jobserver.store.documents import ClaimedJob
from jobserver.store.locks import LockStore
from jobserver.store.transitions import MAX_CRASHES
from jobserver.supervisor import Supervisor, TakenBack
from jobserver.worker import await_header, follow_supervisor, worker_command, worker_number

REFUSED, INTERNAL_FAULT = 1, 70
MOST_DESCRIPTORS = 65_536
LONGEST_HAND_ON = 2.0  # seconds for one try
LAST_MOMENT = 0.3  # seconds for what jobs have left on the event loop, and for threads

_log = structlog.get_logger("jobserver")


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """How to run, as far as it is no setting."""

    workers: int = 1
    no_wait: bool = False
    verbose: bool = False
    as_json: bool = False
    as_worker: bool = False


def start(where: Where, options: StartOptions) -> int:
    """Run until told to stop; the exit code. On a terminal JobServerError tells the caller what kept it from trying."""
    worker = worker_number() if options.as_worker else None
    if options.as_worker:
        follow_supervisor()
    runner = asyncio.Runner(loop_factory=_loop_factory())
    runner.get_loop().set_default_executor(executor := ThreadPoolExecutor())
    with console(as_json=options.as_json, verbose=options.verbose, worker=worker) as out:
        code = _run(where, options, out, worker, runner)
    heed_no_more()
    if runner.run(_is_kept()) or _hangs(executor):
        os._exit(code)  # what nothing can end would keep the process
    runner.close()
    heed_no_more()  # closing the loop has undone it
    return code


def _run(where: Where, options: StartOptions, out: Console, worker: int | None, runner: asyncio.Runner) -> int:
    try:
        settings = load_settings(where.config, flags=where.flags)
        if worker is None and out.terminal is not None:
            out.say(*title(settings, workers=options.workers))
        if options.workers > 1:
            return _supervise(where, options, settings, out)
        _spare_the_collector()
        _raise_descriptor_limit()
        return runner.run(_serve(settings, options, out, worker))
    except JobServerError as error:
        if out.terminal is not None:
            raise
        _log.error("server could not start", error=what_mongodb_said(error))
        return REFUSED
    except Exception:
        if out.terminal is not None:
            raise
        _log.critical("internal fault", exc_info=True)
        return INTERNAL_FAULT


async def _serve(settings: Settings, options: StartOptions, out: Console, worker: int | None) -> int:
    server = await JobServer.create(None, None, None, settings)
    server.heed_signals()
    last_resort = LastResort(grace=settings.runner.config.shutdown_grace)
    last_resort.install()
    try:
        await server.start(wait=not options.no_wait)
        await _show_header(server, out, worker)
        await server.wait()
    except JobServerError as error:  # said before the shutdown, whose records then tell the exit code that it has
        server.exit_code = REFUSED
        _log.error("server could not start", error=what_mongodb_said(error))
    except Exception:
        server.exit_code = INTERNAL_FAULT
        raise
    finally:
        await server.shutdown()
        last_resort.ended(server.exit_code)
    return server.exit_code


async def _is_kept() -> bool:
    """Whether a job has left something on this loop that does not end when it is cancelled."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    return bool(left) and bool((await asyncio.wait(left, timeout=LAST_MOMENT))[1])


def _hangs(executor: ThreadPoolExecutor) -> bool:
    """Whether a thread goes on that Python would wait for: a job has made it, or a command of ours hangs in it."""
    executor.shutdown(wait=False)
    give_up_at = time.monotonic() + LAST_MOMENT
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join(max(0.0, give_up_at - time.monotonic()))
            if thread.is_alive():
                return True
    return False


async def _show_header(server: JobServer, out: Console, worker: int | None) -> None:
    """Under a supervisor the header is not this process's; what happened meanwhile is said after it."""
    if worker is not None:
        await_header(out.ready)
    elif server.mongodb_uri is not None and out.terminal is not None:
        out.ready(*await asyncio.to_thread(overview, server.settings, server.mongodb_uri))


def _supervise(where: Where, options: StartOptions, settings: Settings, out: Console) -> int:
    """The embedded MongoDB outlives every worker: this process has a share in it, and so has each of them."""
    embedded = None if settings.mongodb.uri else EmbeddedMongo.start(settings.project.data_dir)
    uri = embedded.uri if embedded else str(settings.mongodb.uri)
    try:
        if options.no_wait:
            with connected(uri):
                pass
        id_ = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        client = sync_client(uri, app_name="jobserver-supervisor", pool_size=2)
        database = deciding_sync(client[settings.mongodb.database])
        names = CollectionNames(jobs=settings.runner.config.db.collection)
        locks = LockStore(jobs=database[names.jobs], runs=database[names.runs], servers=database[names.servers])

        async def supervise() -> int:
            return await Supervisor(
                id=id_,
                workers=options.workers,
                command=worker_command(*_passed_on(where, options)),
                environ=os.environ | _environment(where),
                grace=settings.runner.config.shutdown_grace,
                hand_on=partial(_hand_on, locks, id_),
                sign_off=partial(_sign_off, locks, id_),
                show_header=lambda: out.ready(*overview(settings, uri)) if out.terminal else None,
            ).run()

        try:
            return asyncio.run(supervise())
        finally:
            heed_no_more()
            closed(client)
    finally:
        if embedded is not None:
            embedded.close()


def _hand_on(locks: LockStore, supervisor: str, pid: int, reason: str | None) -> list[TakenBack]:
    """Raises DatabaseError soon where MongoDB is away: whoever waits may be about to end."""
    with bounded(LONGEST_HAND_ON):
        if reason is None:
            locks.release_process(supervisor=supervisor, pid=pid)
            return []
        return [_taken_back(job) for job in locks.reap_process(supervisor=supervisor, pid=pid, reason=reason)]


def _sign_off(locks: LockStore, supervisor: str, pids: Sequence[int]) -> int:
    with bounded(LONGEST_HAND_ON):
        return locks.sign_off(supervisor=supervisor, pids=pids)


def _taken_back(job: ClaimedJob) -> TakenBack:
    given_up = job.crash_count >= MAX_CRASHES
    return TakenBack(name=job.name, job_id=str(job.id), crashes=job.crash_count, given_up=given_up)


def _passed_on(where: Where, options: StartOptions) -> list[str]:
    flags = {"--no-wait": options.no_wait, "--verbose": options.verbose, "--json": options.as_json}
    config = ["--config", str(Path(where.config).absolute())] if where.config else []
    return [*config, *(flag for flag, given in flags.items() if given)]


def _environment(where: Where) -> dict[str, str]:
    """Flags that may hold a password go where `ps` does not show them."""
    given = {"JOBSERVER_MONGODB__URI": where.uri, "JOBSERVER_MONGODB__DATABASE": where.database}
    return {name: value for name, value in given.items() if value is not None}


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where the extra `speed` is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _raise_descriptor_limit() -> None:
    """A run in a process takes four descriptors here; the usual soft limit of 1,024 is for programs that select."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _spare_the_collector() -> None:
    """A server makes and drops many small objects and few cycles: look for cycles less often than Python's default."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
