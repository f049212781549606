"""What Taskyard reaches on this machine, against what it must reach and what others reach.

`python -m benchmarks` from the repository measures every figure and prints a table; see README.md
here. The modules: `load` (the HTTP load generator), `server` (a real `taskyard up`), `api` (driving
it), `figures/` (one module per figure), `yardsticks` (what others reach), `rounds` and `rows`
(statistics and verdicts), `table` (the output).
"""
