"""Messages between control planes over core NATS.

Subjects, all below ``taskyard.INSTALLATION``: ``plane.ID.WHAT`` for requests to one plane,
``plane.ID.answers.KEY`` for the answers to those it made, ``leader.WHAT`` for requests to whoever
leads, and ``WHAT`` for what is published to all. Nothing is kept in NATS.
"""
