from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from jobserver.errors import SettingsError
from jobserver.runlogs import Bucket
from jobserver.runlogs.buckets import bucket_of
from jobserver.runlogs.folder import FolderBucket
from jobserver.runlogs.url import UrlBucket
from jobserver.settings import load_settings
from jobserver.store.log_bucket import GridFsBucket
from tests.conformance.bucket_suite import BucketSuite

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("url", "said"), [("s3://somewhere/logs", r"pip install 'jobserver\[s3\]'"), ("nonsense://x", "cannot be used")]
)
def test_a_url_that_no_library_here_can_write_is_refused_at_once(url: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        UrlBucket(url)
    assert caught.value.field == "logs.bucket"


def test_the_settings_name_the_bucket(tmp_path: Path) -> None:
    def bucket(name: str) -> Bucket:
        settings = load_settings({"logs": {"bucket": name}, "project": {"root": str(tmp_path)}}, environ={})
        return bucket_of(settings, gridfs=lambda: GridFsBucket(lambda: never, retention=DAY))

    never: Any = None
    assert isinstance(bucket("gridfs"), GridFsBucket)
    assert isinstance(bucket("folder"), FolderBucket)
    assert isinstance(bucket(f"file://{tmp_path}/logs"), UrlBucket)


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
