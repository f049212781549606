"""The function runtime: calls of deployed code, answered by warm processes.

Three kinds of processes stand behind it. The *fork server* is one small process for each worker
that runs no deployed code; it is the ancestor of everything below, and kills all of it when the
worker is gone. A *zygote* is one process for each version of a Python function that is in use: it
has imported the handler, and forks. An *instance* answers calls, one at a time; it was forked by a
zygote, or started by the fork server for languages that do not fork. Each instance has a session
and a cgroup of its own, so that nothing of it outlives a kill. A process never serves two
functions.

**Wire.** The runtime talks to fork server and zygotes in JSON datagrams over socket pairs
(``SOCK_SEQPACKET``), some with a descriptor attached (see :mod:`.child.fork_server`). With an
instance it exchanges frames over a stream socket, which is descriptor 3 for programs that are
executed:

``header length (4 bytes, big-endian) | payload length (4 bytes) | header (JSON) | payload``

To the instance, one frame a call: ``{"call": number, "id", "function", "version", "method", "host",
"query", "headers": [[name, value], …], "timeout_s"}`` and the body. From the instance:

* ``{"ready": true}`` once it can take calls, or ``{"failed": text}`` if it never will;
* ``{"progress": 0…1, "text": …}`` any number of times during a call;
* ``{"status", "headers", "sizes": [body, stdout, stderr], "kids"}`` as the answer, the payload
  being body, stdout and stderr one after the other, of which the last two are empty unless they
  come this way rather than by being printed; in place of status and headers ``{"error": text}``
  for a call that failed, with ``"exit": code`` if the process ends with it. ``kids`` says that the
  handler left processes behind, which are killed with the instance.

Progress and answers carry the ``call`` they belong to: those of an ended call are dropped. Whoever
leaves the number out always means the call that runs.

A process of any language that speaks this is an instance; there is nothing else to it.

**Output.** An instance's standard output and error are two pipes, which are read while a call runs
and, without waiting, when its answer arrives: an instance writes what it has buffered before it
answers. What a call prints is at most a few KiB, as a rule: it is kept in memory, and no directory
is made for the attempt. When it is more, or the call takes long enough for somebody to watch, it
goes on into files in the attempt's directory, where followers find them growing
(:mod:`.instance_output`).
"""
