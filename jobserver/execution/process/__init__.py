"""Calls a job's code in a process of its own, which dies with its server and takes all that it started with it.

    server ── control ──> zygote          one per version of a job file, which it has imported once; it only forks
       │                    └─ keeper     one per run: holds all that the run starts, and knows when it has to end
       ├────── life ──────────┘  └─ run   leads a session of its own; the job's code
       └─ messages, stdout, stderr ───┘

server side
    executor  an `Executor`: one `Conversation` per run
    zygotes   starts zygotes, keeps the most recently used ones
    zygote_link  what the server says to one zygote
    start     the descriptors between a run and its server
    conversation  one run: its order, its messages, its end
    outlet    output of the run that does not come as messages
    endings   how a run has ended that has not said so itself

the other side, single-threaded until the job's code runs
    zygote    imports, then forks
    keeper    waits for the end of the run, of the lease, of the lock or of the server, whichever comes first
    child     the run: the call, and its last word
    exits     what is left to be done at its end
    lent      what the run is lent
    limiting  what it may use
    channel   messages to the server and its answers
    printing  stdout, stderr, `logging` and structlog → messages

both sides
    wire      messages; how they are encoded is handed in, for it must be what MongoDB stores
    lines     bytes → lines of bounded length, a bounded number per second
    orders    what a zygote and a run are told
    telling   an outcome → a message, and back

Guarantees
    Nothing that a run has started lives longer than it (see `jobserver.processes` for what can escape), than its lock,
    its server's lease or its server: each of them alone makes the keeper kill everything. The lease ends in memory that
    the server shares with the keeper, so a server that stands still cannot keep a run alive by that.
    A run shares nothing with its server but the environment, the working folder and the descriptors above.
"""
