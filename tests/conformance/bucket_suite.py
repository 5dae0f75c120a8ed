"""What every bucket for logs of runs must do; an implementation brings a fixture `bucket`."""

from __future__ import annotations

from jobserver.runlogs import Bucket, Piece, RunFacts

FACTS = RunFacts(run="6740c2f09b1e8a5d3c7f1a20:3", job="api:report", job_id="6740c2f09b1e8a5d3c7f1a20", server="here")
OTHER = RunFacts(run="an id/with: signs…:1", job="api:other", job_id="an id/with: signs…", server="here")
ALL = 10 * 1024**2


def piece(data: bytes, *, start: int = 0, ended: bool = True, facts: RunFacts = FACTS) -> Piece:
    return Piece(facts=facts, start=start, data=data, ended=ended)


def lines(size: int) -> bytes:
    """So many bytes, of which no two parts are alike."""
    return b"".join(b"line %09d\n" % number for number in range(size // 15 + 1))[:size]


class BucketSuite:
    """Subclassed once per bucket."""

    def test_a_run_that_nobody_has_heard_of_has_no_log(self, bucket: Bucket) -> None:
        assert bucket.read("never:1", 0, ALL) is None

    def test_what_was_kept_is_read_back_and_has_ended(self, bucket: Bucket) -> None:
        data = lines(400_000)
        bucket.append([piece(data), piece(b"other\n", facts=OTHER)])
        found = bucket.read(FACTS.run, 0, ALL)
        assert found is not None
        assert (found.data, found.ended) == (data, True)
        other = bucket.read(OTHER.run, 0, ALL)
        assert other is not None
        assert other.data == b"other\n"

    def test_it_is_read_in_parts_of_which_only_the_last_is_the_end(self, bucket: Bucket) -> None:
        data = lines(200_000)
        bucket.append([piece(data)])
        read, ends = b"", []
        while not ends or not ends[-1]:
            part = bucket.read(FACTS.run, len(read), 70_001)
            assert part is not None
            read += part.data
            ends.append(part.ended)
        assert read == data
        assert len(ends) >= 3

    def test_a_piece_that_comes_twice_is_there_once(self, bucket: Bucket) -> None:
        bucket.append([piece(b"once\n")])
        bucket.append([piece(b"once\n")])
        found = bucket.read(FACTS.run, 0, ALL)
        assert found is not None
        assert (found.data, found.ended) == (b"once\n", True)

    def test_a_log_grows_while_its_run_is_under_way(self, bucket: Bucket) -> None:
        grain = bucket.grain
        if grain is None:  # such a bucket is handed whole logs
            return
        data, done = lines(3 * 65_536 + 1_000), 0
        for end in (10, 500, 65_536, 65_537, 150_000, len(data)):
            start = done - done % grain
            bucket.append([piece(data[start:end], start=start, ended=end == len(data))])
            done = end
            found = bucket.read(FACTS.run, 0, ALL)
            assert found is not None
            assert (found.data, found.ended) == (data[:end], end == len(data))

    def test_sweeping_leaves_what_is_within_its_retention(self, bucket: Bucket) -> None:
        bucket.append([piece(b"young\n"), piece(b"live\n", facts=OTHER, ended=bucket.grain is None)])
        bucket.sweep()
        assert bucket.read(FACTS.run, 0, ALL) is not None
        assert bucket.read(OTHER.run, 0, ALL) is not None
