"""The fastlane dialect: commands in containers, posted under a task name.

A fastlane *task* is a group, a *job* a job, an *execution* a task of ours. The request path, from
the outside in (``app.py``): log line, origins, HEAD and OPTIONS, credentials, compression, Litestar
with the routes. What departs from the original, and why, is in ``docs/reference/fastlane.md``.
"""
