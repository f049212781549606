"""The container runtime: images run on Docker Engine or Podman, through the engine's HTTP API.

Every attempt is one container, ``taskyard-<attempt id>``, labelled with the attempt and with the
*installation*, a stable id kept in the data directory. The name makes creating it twice impossible,
and the labels find it again after a restart; containers of anybody else are never touched.

Three things run at the same time: a *watch* (:mod:`.watch`) on the engine's event stream, which
tells attempts when to look at their container and looks at all of them after every reconnect; one
task for each attempt (:mod:`.attempt`), from its pull to the proof that nothing of it runs; and
removals of containers whose end is stored.

**Output.** An attachment made before the start carries every byte in the order written, with the
engine holding the work back when we are slow; nothing but a block of it is ever in memory. What
was missed while nobody was attached (this process was down, or the engine was away) is read from
the engine's own log, from its beginning, passing over what the files hold already. Neither of the
ways alone would do: attachments know nothing of the past, and the logs of engines have gaps of
their own that :mod:`.frames` describes.

**Trouble with the engine** never counts against a task: before a container exists the attempt ends
as ``runtime_trouble``; from then on the attempt waits until the engine is back, and then says what
became of the container.
"""
