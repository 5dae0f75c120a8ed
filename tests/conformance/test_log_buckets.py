from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from jobserver.runlogs import Bucket
from jobserver.runlogs.folder import FolderBucket
from jobserver.runlogs.url import UrlBucket
from jobserver.store.log_bucket import GridFsBucket
from tests.conformance.bucket_suite import BucketSuite

DAY = timedelta(days=1)


class TestGridFsBucket(BucketSuite):
    @pytest.fixture
    def bucket(self, db: Database[dict[str, Any]]) -> Bucket:
        return GridFsBucket(lambda: db, retention=DAY)


class TestFolderBucket(BucketSuite):
    @pytest.fixture
    def bucket(self, tmp_path: Path) -> Bucket:
        return FolderBucket(tmp_path / "logs", retention=DAY)


class TestUrlBucket(BucketSuite):
    @pytest.fixture
    def bucket(self, tmp_path: Path) -> Bucket:
        return UrlBucket(f"file://{tmp_path}/logs")
