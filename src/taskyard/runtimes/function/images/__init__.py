"""Functions that are container images: calls answered by warm containers.

What decides about instances and calls is that of :mod:`taskyard.runtimes.function`: pools, limits,
time limits, how calls end. Here an instance is a container, driven through the engine's HTTP API as
:mod:`taskyard.runtimes.container` drives those of tasks.

**Building** is a pull. What the image's name stands for at that moment is its *pin*, kept beside
other builds: containers are made from the pin, so that calls of a version run the same image
whatever becomes of the name.

**Wire.** Each instance has a private directory with a Unix socket in a directory below, and that
one is bind-mounted, read-only, into the container. Nobody else gets to it: the private directory
lets its owner in only, while whatever user the image names can use the mount. The program connects,
once, and speaks the frames of :mod:`taskyard.runtimes.function`; what is left out or added for
images is in ``docs/reference/function-images.md``.

**Output.** Standard output and error come through an attachment that is made before the start, and
go into two files of the instance, which followers see grow once they are linked into the attempt's
directory. The engine keeps no log of its own, which would grow as long as an instance lives. An
answer overtakes what was printed before it, since the ways are different ones. A program that
counts what it printed, says so with its answer, and the end of the call waits for exactly that;
for others it waits until nothing has come for a moment. What comes later belongs to the next call.

**Ends.** Containers of functions do not outlive their worker: those of an earlier life, which carry
the label of this *installation*, are removed before the first call runs, and the calls they had
are lost, as those of processes are.
"""
