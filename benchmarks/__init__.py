"""How fast this job server is, against the raw limit or a peer in the same run, on a real mongod.

    figures/      one question each; `catalogue` names them
    flood         no-op jobs through a real server process; `pickups` one job at a time
    raw_protocol  the same work with nothing around it: the limit
    rounds        ours and theirs by turns, because machines are noisy; ratios are taken within a round
    report        a table for a person, JSON for a program

A server here is always `jobserver start` in a process of its own, on a scratch project and a scratch database. Times
are those that MongoDB has written into the documents. CPU time, which noise moves less, is read from the kernel.
"""
