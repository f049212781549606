"""The fastlane dialect: commands in containers, posted under a task name.

A fastlane *task* is a group, a *job* a job, an *execution* a task of ours. The request path is in
``app.py``; what departs from the original, and why, in ``docs/reference/fastlane.md``.
"""
