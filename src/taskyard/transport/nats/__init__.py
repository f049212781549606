"""Messages between control planes, and with workers on other machines, over core NATS.

Subjects, all below ``taskyard.INSTALLATION``: ``plane.ID.WHAT`` for requests to one plane,
``leader.WHAT`` to whoever leads, ``worker.ID.WHAT`` to a worker on another machine,
``engine.WORKER.WHAT`` from such a worker to any plane (a queue group), ``ADDRESS.answers.KEY`` for
the answers to what an address has asked, and ``WHAT`` for what is published to all planes. Who may
do what is decided by subjects alone; no payload says who sends it. Nothing is kept in NATS.
"""
