"""What docs/config.md says of a job's class."""

import re
from datetime import UTC, datetime
from pathlib import Path

from jobserver.job import RUN_PARAMETERS
from jobserver.testing import VirtualJobs

PAGE = (Path(__file__).parents[2] / "docs" / "config.md").read_text("utf-8")


def test_the_class_of_the_page_is_a_job_that_runs_when_it_says(tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    (tmp_path / "example.py").write_text(example[1], "utf-8")
    with VirtualJobs(jobs_dir=tmp_path, start=datetime(2026, 1, 2, 12, tzinfo=UTC)) as jobs:
        assert jobs.next_run_at("api:report") == datetime(2026, 1, 5, 8, tzinfo=UTC)


def test_everything_that_run_may_ask_for_is_listed() -> None:
    assert [name for name in RUN_PARAMETERS if f"\n| `{name}` | " not in PAGE] == []
