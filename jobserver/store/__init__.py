"""The only package that speaks MongoDB: one named, guarded update per transition.

states        the states and the table of legal moves
transitions   the table's updates, as pure functions
jobs          claims and settles job documents in batches
locks         takes back the locks of dead servers and stuck runs
servers       leases: who is alive
configs       jobConfigs and its history
runs          jobRuns
enqueue       documents that clients insert
reader        what people ask
changes       change streams, as hints; listener follows one for ever
indexes       every index and the query that needs it
"""
