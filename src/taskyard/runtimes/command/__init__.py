"""The command runtime: programs in sessions and cgroups of their own, run by a supervisor process.

Two processes work together. The *supervisor* (:mod:`.supervisor`) is small, long-lived and imports
nothing but the standard library; it is the parent of every command, so that commands and their
exit codes survive the death of the Taskyard process. The *client* (:mod:`.runtime`) lives inside
the worker and implements the runtime port by talking to the supervisor over a Unix socket, one JSON
object per line.

What one attempt leaves in its directory:

``stdout``, ``stderr``
    Its output, which it writes into pipes (:mod:`.output`). Made with their first bytes.
``order``
    In what order the bytes of both came (:mod:`taskyard.core.output_index`).
``meta.json``
    ``{"log_limit_bytes": N, "dropped_bytes": [of stdout, of stderr]}`` for readers of the output;
    there before the command starts, at first without what is dropped.
``attempt.jsonl``
    What the supervisor remembers across its own death, a line of JSON for each step: what is about
    to be started and where its processes will be found, written before the spawn; its pid and
    start time, written after it; and how it ended, before anybody is told. Its first line is what
    keeps an attempt from ever being started twice.
``work``
    The private working directory; emptied when the attempt is released.

A command that runs as the supervisor's own user may be able to leave its cgroup. It stays a
descendant of the supervisor and is found and killed as one (:mod:`.escapes`).
"""
