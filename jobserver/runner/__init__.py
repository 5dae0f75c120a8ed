"""What runs jobs: three interfaces, composed by `JobRunner`; a runner type is chosen by `runner.type`."""

from __future__ import annotations

from jobserver.runner.interfaces import JobExecutor, JobLifecycle, JobRunner, JobScheduler
from jobserver.runner.registry import RunnerRegistry

__all__ = ["JobExecutor", "JobLifecycle", "JobRunner", "JobScheduler", "RunnerRegistry"]
