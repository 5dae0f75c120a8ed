"""The MongoDB runner: due → claimed → executed → settled, on the locked jobs collection.

    jobs        what this server runs, and under which settings
    capacity    how much more it may claim, per job and in all
    wakeups     which jobs are worth a look, and when
    claiming    due → claimed, in batches, only for free slots
    running     claimed → ended: one job's run
    verdict     how it ended → what becomes of the document
    settling    verdicts → stored, in batches, until MongoDB has them
    heartbeat   this server's lease, in a thread of its own
    reaping     the locks of dead servers, in a thread of its own
    listening   change events → wake-ups

Guarantees: see `jobserver.store.transitions`. A server whose lease is over claims nothing and stops its runs before
any other server may take them; what they then say is not stored.
"""
