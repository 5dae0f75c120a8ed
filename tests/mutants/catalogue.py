"""The mistakes, oldest first: what each package of guarantees stands on, taken away once."""

from __future__ import annotations

from tests.mutants.mutant import Edit, Mutant

STORE, SERVER = "tests/integration/store", "tests/integration/server"

WITHOUT_THE_FENCE = (
    Mutant(
        name="settle-without-token",
        breaks="the end of a run that has lost its lock is stored",
        edits=(
            Edit(
                path="store/transitions.py",
                old='return {"_id": settlement.job.id, "lockToken": settlement.job.token}',
                new='return {"_id": settlement.job.id}',
            ),
        ),
        tests=(f"{STORE}/test_settling.py::test_an_end_under_an_old_token_stores_nothing_and_is_handed_back_as_lost",),
    ),
    Mutant(
        name="settle-many-without-token",
        breaks="the same, where plain ends share a statement",
        edits=(
            Edit(
                path="store/jobs.py",
                old='{"$in": [settlement.job.id for settlement in group]}, "lockToken": token}',
                new='{"$in": [settlement.job.id for settlement in group]}}',
            ),
        ),
        tests=(f"{STORE}/test_settling.py::test_an_end_under_an_old_token_stores_nothing_and_is_handed_back_as_lost",),
    ),
    Mutant(
        name="touch-without-token",
        breaks="a run that has lost its lock goes on renewing that of its successor",
        edits=(
            Edit(
                path="store/jobs.py",
                old='self._jobs.update_one({"_id": job.id, "lockToken": job.token}, change)',
                new='self._jobs.update_one({"_id": job.id}, change)',
            ),
        ),
        tests=(f"{STORE}/test_settling.py::test_a_lock_that_was_lost_takes_no_touch_and_no_progress",),
    ),
    Mutant(
        name="reap-without-lock",
        breaks="a run that ends between the reaper's look and its update counts as a crash and runs again",
        edits=(
            Edit(
                path="store/locks.py",
                old="self._jobs.update_many({**HELD, **which, **seen}, change)",
                new="self._jobs.update_many({'_id': seen['_id']}, change)",
            ),
        ),
        tests=(
            f"{STORE}/test_reaping.py::test_a_run_that_settles_between_the_look_and_the_taking_back_has_not_crashed",
        ),
    ),
    Mutant(
        name="renewal-of-a-lost-lease",
        breaks="a server that was declared dead renews the lease that it has lost and keeps its runs",
        edits=(
            Edit(
                path="store/servers.py",
                old="return self._write(id_, literals(facts), upsert=False)",
                new="return self._write(id_, literals(facts), upsert=True)",
            ),
        ),
        tests=(f"{STORE}/test_reaping.py::test_a_dead_server_is_struck_off_and_told_so_when_it_renews",),
    ),
    Mutant(
        name="reap-on-what-was-read",
        breaks="a server that has renewed its lease since somebody looked, or asked an old primary, loses its locks",
        edits=(Edit(path="store/locks.py", old="if self._has_ended(owner) for job", new="for job"),),
        tests=(
            f"{STORE}/test_reaping.py::test_a_server_that_is_back_between_the_look_and_the_reaping_keeps_its_locks",
        ),
    ),
    Mutant(
        name="late-claims-stay",
        breaks="what a claim locks after it was given up stays locked as long as its server lives",
        edits=(Edit(path="runner/pulse/runner.py", old='"finding orphans": self._orphans.run,', new=""),),
        tests=(f"{SERVER}/test_bad_network.py::test_what_a_claim_locks_after_it_was_given_up_is_given_back",),
    ),
    Mutant(
        name="renewal-waits-for-ever",
        breaks="a renewal whose connection hangs takes the rest of the lease",
        edits=(
            Edit(
                path="runner/pulse/heartbeat.py",
                old="bounded(min(self._patience, self._lease.seconds_left() or self._every))",
                new="bounded(self._lease.seconds_left() or self._every)",
            ),
        ),
        tests=(
            f"{SERVER}/test_bad_network.py"
            "::test_a_renewal_whose_connection_hangs_is_made_on_another_before_the_lease_is_over",
        ),
    ),
    Mutant(
        name="release-without-owner",
        breaks="a server that shuts down gives back what others run",
        edits=(
            Edit(
                path="store/jobs.py",
                old='return {"lockedAt": {"$exists": True}, "lockToken": {"$gt": ""}, "lockedBy": owner}',
                new='return {"lockedAt": {"$exists": True}, "lockToken": {"$gt": ""}}',
            ),
        ),
        tests=(f"{STORE}/test_settling.py::test_a_server_gives_back_what_it_holds_and_nothing_else",),
    ),
    Mutant(
        name="fence-not-increased",
        breaks="two claims of a document have the same number",
        edits=(Edit(path="store/transitions.py", old='plus("fence", 1)', new='plus("fence", 0)'),),
        tests=(f"{STORE}/test_claims.py::test_the_fence_grows_by_one_with_every_claim_and_never_repeats",),
    ),
    Mutant(
        name="server-id-used-again",
        breaks="a server takes a dead one's locks for its own",
        edits=(
            Edit(
                path="runner/pulse/heartbeat.py",
                old='return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"',
                new='return f"{socket.gethostname()}:{os.getpid()}"',
            ),
        ),
        tests=("tests/unit/test_lease.py::test_no_registration_has_the_id_of_another_one",),
    ),
    Mutant(
        name="recovery-of-the-living",
        breaks="locks of servers that are well are taken back",
        edits=(
            Edit(
                path="store/locks.py",
                old="dead = named - self._alive() if named else named",
                new="dead = named",
            ),
            # Which ends only what is over, and so protects the living by itself.
            Edit(path="store/locks.py", old="if self._has_ended(owner) for job", new="for job"),
        ),
        tests=(f"{STORE}/test_reaping.py::test_only_the_locks_of_dead_servers_are_taken_back",),
    ),
)

WITH_THE_WRONG_CLOCK = (
    Mutant(
        name="client-clock-in-due",
        breaks="a server whose clock is wrong runs jobs early or late",
        edits=(
            Edit(
                path="store/transitions.py",
                old='{"$lte": ["$nextRunAt", NOW]},\n        is_moment("nextRunAt"),',
                new='{"$lte": ["$nextRunAt", datetime.now(UTC)]},\n        is_moment("nextRunAt"),',
            ),
            Edit(
                path="store/transitions.py",
                old='"$expr": {"$lte": ["$nextRunAt", NOW]},\n    }',
                new='"$expr": {"$lte": ["$nextRunAt", datetime.now(UTC)]},\n    }',
            ),
            Edit(
                path="store/transitions.py",
                old="from datetime import timedelta\n",
                new="from datetime import UTC, datetime, timedelta\n",
            ),
        ),
        tests=(
            f"{SERVER}/test_skewed_servers.py::test_servers_an_hour_off_run_what_is_due_and_nothing_else",
            "tests/architecture/test_clocks.py::test_what_is_stored_or_asked_for_is_dated_by_no_clock_of_a_client",
        ),
    ),
    Mutant(
        name="client-clock-in-claim",
        breaks="a server whose clock is an hour slow holds locks that are over",
        edits=(
            Edit(
                path="store/transitions.py",
                old='{"$add": [NOW, _lock_lifetimes(lanes)]}',
                new='{"$add": [datetime.now(UTC), _lock_lifetimes(lanes)]}',
            ),
            Edit(path="store/transitions.py", old='"lastRunAt": NOW,\n', new='"lastRunAt": datetime.now(UTC),\n'),
            Edit(
                path="store/transitions.py",
                old="from datetime import timedelta\n",
                new="from datetime import UTC, datetime, timedelta\n",
            ),
        ),
        tests=(
            f"{SERVER}/test_skewed_servers.py::test_locks_and_leases_of_servers_an_hour_off_hold_to_their_end",
            "tests/architecture/test_clocks.py::test_what_is_stored_or_asked_for_is_dated_by_no_clock_of_a_client",
        ),
    ),
    Mutant(
        name="client-clock-in-lease",
        breaks="a server whose clock is an hour slow is dead to all others",
        edits=(
            Edit(
                path="store/servers.py",
                old='"leaseUntil": from_now(self._lease)}',
                new='"leaseUntil": datetime.now(UTC) + self._lease}',
            ),
            Edit(
                path="store/servers.py",
                old="from datetime import datetime, timedelta",
                new="from datetime import UTC, datetime, timedelta",
            ),
        ),
        tests=(
            f"{SERVER}/test_skewed_servers.py::test_locks_and_leases_of_servers_an_hour_off_hold_to_their_end",
            "tests/architecture/test_clocks.py::test_what_is_stored_or_asked_for_is_dated_by_no_clock_of_a_client",
        ),
    ),
    Mutant(
        name="clock-that-sleeps",
        breaks="a server goes on under a lease that was over while its machine slept",
        edits=(Edit(path="store/clock.py", old='"CLOCK_BOOTTIME"', new='"CLOCK_MONOTONIC"'),),
        tests=("tests/unit/test_lease.py::test_a_lease_is_over_when_the_machine_has_slept_through_its_end",),
    ),
)

WITHOUT_THE_DATABASES_WORD = (
    Mutant(
        name="write-concern-of-one",
        breaks="what was claimed or settled is gone after a change of the primary",
        edits=(
            Edit(path="store/connection.py", old='WriteConcern("majority", wtimeout', new="WriteConcern(1, wtimeout"),
        ),
        tests=(f"{STORE}/test_concerns.py::test_every_write_of_a_server_waits_for_a_majority",),
    ),
    Mutant(
        name="dead-resume-token",
        # There is no token to forget: the seed is a stream that goes on from the place of the last one, dead or not.
        breaks="a stream whose place is gone from MongoDB's log never opens again",
        edits=(
            Edit(
                path="store/changes.py",
                old="self._pipeline = list(pipeline)\n",
                new="self._pipeline = list(pipeline)\n        self._token: Any = None\n",
            ),
            Edit(
                path="store/changes.py",
                old="async with await self._collection.watch(self._pipeline, max_await_time_ms=AWAIT_MS) as stream:",
                new="watched = self._collection.watch(\n"
                "                self._pipeline, max_await_time_ms=AWAIT_MS, resume_after=self._token\n"
                "            )\n"
                "            async with await watched as stream:",
            ),
            Edit(
                path="store/changes.py",
                old="async for event in stream:\n",
                new='async for event in stream:\n                    self._token = event["_id"]\n',
            ),
        ),
        tests=(f"{STORE}/test_changes.py::test_a_listener_whose_place_in_the_log_is_dead_hears_on_from_now",),
    ),
    Mutant(
        name="literal-forgotten",
        breaks="a result, an error or a configuration that starts with $ is read as an expression",
        edits=(Edit(path="store/expressions.py", old='return {"$literal": value}', new="return value"),),
        tests=(
            f"{STORE}/test_settling.py::test_errors_and_reasons_that_look_like_expressions_are_text",
            f"{STORE}/test_settling.py::test_a_result_is_kept_exactly_as_it_is",
        ),
    ),
    Mutant(
        name="holder-not-unique",
        breaks="a recurring job has two documents and runs twice each time",
        edits=(
            Edit(
                path="store/indexes.py",
                old='name="one_holder", unique=True',
                new='name="one_holder", unique=False',
            ),
        ),
        tests=(f"{STORE}/test_indexes.py::test_a_unique_index_keeps_what_has_to_be_single_single",),
    ),
    Mutant(
        name="unique-key-not-unique",
        breaks="two active documents share a unique key",
        edits=(
            Edit(
                path="store/indexes.py",
                old='name="one_active_per_key",\n            unique=True',
                new='name="one_active_per_key",\n            unique=False',
            ),
        ),
        tests=(f"{STORE}/test_indexes.py::test_a_unique_index_keeps_what_has_to_be_single_single",),
    ),
    Mutant(
        name="global-slot-not-unique",
        breaks="more runs at once than the limit across all servers allows",
        edits=(
            Edit(
                path="store/indexes.py",
                old='name="one_per_global_slot",\n            unique=True',
                new='name="one_per_global_slot",\n            unique=False',
            ),
        ),
        tests=(
            f"{STORE}/test_global_limits.py::test_no_more_run_than_the_limit_says_however_many_servers_claim_at_once",
        ),
    ),
    Mutant(
        name="moment-removed-at-the-claim",
        breaks="a document whose server dies is due never again",
        edits=(
            Edit(
                path="store/transitions.py",
                old='{"$unset": ["progress", "progressData",',
                new='{"$unset": ["nextRunAt", "progress", "progressData",',
            ),
        ),
        tests=(f"{STORE}/test_claims.py::test_a_claim_writes_the_lock_the_counts_and_the_occurrence",),
    ),
    Mutant(
        name="crashes-not-counted",
        breaks="a job that kills its server is run for ever",
        edits=(
            Edit(path="store/transitions.py", old='crashes = plus("crashes", 1)', new='crashes = plus("crashes", 0)'),
        ),
        tests=(f"{STORE}/test_reaping.py::test_the_third_crash_makes_it_poison_and_it_is_not_run_again",),
    ),
)

WITHOUT_AN_END = (
    Mutant(
        name="no-local-stop",
        breaks="a server that cannot renew its lease runs on beside its successor",
        edits=(
            Edit(
                path="runner/pulse/heartbeat.py",
                old="        if left <= 0:\n"
                '            self._tell_lost(owner, "the lease could not be renewed in time")\n',
                new="",
            ),
        ),
        tests=(
            f"{SERVER}/test_bad_days.py::"
            "test_runs_are_stopped_before_a_lease_that_cannot_be_renewed_is_over_and_run_again_later",
        ),
    ),
    Mutant(
        name="heartbeat-on-the-event-loop",
        breaks="a job that blocks the event loop costs its server the lease",
        edits=(
            Edit(
                path="runner/pulse/heartbeat.py",
                old='        """Renew from now on."""\n        self._chore.start()\n',
                new='        """Renew from now on."""\n'
                "        asyncio.get_running_loop().call_later(self._every, self._beat)\n"
                "\n"
                "    def _beat(self) -> None:\n"
                "        asyncio.get_running_loop().call_later(self.step(), self._beat)\n",
            ),
            Edit(path="runner/pulse/heartbeat.py", old="import os\n", new="import asyncio\nimport os\n"),
        ),
        tests=(
            f"{SERVER}/test_bad_days.py::"
            "test_a_job_that_blocks_the_event_loop_keeps_its_lease_and_is_named_with_its_line",
        ),
    ),
    Mutant(
        name="keeper-deaf-to-the-lease",
        breaks="a process runs on beside its successor while its server stands still",
        edits=(
            Edit(
                path="execution/process/keeper.py",
                old="    if now >= _lease_end(lease):\n        return LEASE_OVER\n",
                new="",
            ),
        ),
        tests=(
            "tests/integration/test_process_executor.py::test_a_run_whose_servers_lease_is_over_is_killed_by_its_keeper",
        ),
    ),
    Mutant(
        name="ended-by-the-kernel-is-a-failure",
        breaks="a run without retries has failed for good because its machine stood still",
        edits=(
            Edit(
                path="execution/process/conversation.py",
                old=" or ended_in_time(self._line.lease, self._run)",
                new="",
            ),
        ),
        tests=(
            "tests/integration/test_process_executor.py::test_a_run_that_stood_still_past_its_lock_has_lost_that",
            "tests/integration/test_process_executor.py::"
            "test_a_lease_that_is_renewed_too_late_is_a_new_one_for_a_run_that_stood_still",
        ),
    ),
    Mutant(
        name="dropped-cancellation",
        breaks="a run that is cancelled while it reports goes on, and its slot is given up",
        edits=(
            Edit(
                path="runner/pulse/run.py",
                old="await heeding(self._store.touch(self.job, lock_lifetime=lifetime, report=report))",
                new="await self._store.touch(self.job, lock_lifetime=lifetime, report=report)",
            ),
        ),
        tests=(
            "tests/unit/test_running.py::test_a_run_that_is_cancelled_while_it_gives_a_sign_of_life_is_told_at_once",
        ),
    ),
    Mutant(
        name="run-kept-for-the-collector",
        breaks="a server grows by ten megabytes of ended runs between collections",
        edits=(
            Edit(
                path="runner/pulse/running.py",
                old="        run.task = None\n",
                new="",
            ),
        ),
        tests=("tests/unit/test_running.py::test_a_run_that_has_ended_waits_for_no_collector_to_be_forgotten",),
    ),
    Mutant(
        name="no-end-while-stopped",
        breaks="a run goes on for a moment when its machine does, beside the one that has taken its place",
        edits=(
            Edit(
                path="processes.py",
                old="        if self.is_made:\n",
                new="        if False:\n",
            ),
        ),
        tests=(
            f"{SERVER}/test_process_servers.py::"
            "test_a_machine_that_stands_still_past_the_lease_never_goes_on_with_a_run",
        ),
    ),
    Mutant(
        name="chore-thread-ends-with-a-fault",
        breaks="a server whose heartbeat or reaper has failed once looks alive and does nothing",
        edits=(
            Edit(
                path="runner/pulse/chore.py",
                old="            return self._after_error\n",
                new="            self._stopping = True\n            return self._after_error\n",
            ),
        ),
        tests=(
            "tests/unit/test_chores.py::"
            "test_a_step_that_raises_is_told_and_followed_by_the_next_one_in_a_thread_of_its_own",
        ),
    ),
    Mutant(
        name="chore-task-ends-with-a-fault",
        breaks="a server whose claim loop has failed once looks alive and does nothing",
        edits=(
            Edit(
                path="runner/pulse/lifecycle.py",
                old="            await asyncio.sleep(AFTER_FAULT)\n",
                new="            return\n",
            ),
        ),
        tests=("tests/unit/test_chores.py::test_a_chore_of_the_event_loop_that_raises_is_begun_again_until_it_ends",),
    ),
)

MUTANTS = (*WITHOUT_THE_FENCE, *WITH_THE_WRONG_CLOCK, *WITHOUT_THE_DATABASES_WORD, *WITHOUT_AN_END)
