"""Processes of this machine: cgroups, process trees, sessions, pinning, sandboxes.

What commands, functions and the worker share. The process that supervises commands loads it, so it
needs the standard library only.
"""
