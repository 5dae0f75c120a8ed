"""One question each: `measure(bench)` answers it."""
