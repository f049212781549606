"""The GX dialect: workspaces under API keys, each a numbered list of tasks with a live stream.

A key is a token of the engine. A pair of key and workspace id is a group of its own inside the
token's workspace, and its tasks are ordinary tasks; what the dialect shows is a numbered list of
that group (``services/lists.py``). Nothing here stores anything.
"""
