"""The synchronous client, made by ``tools/unasync.py``: change ``taskyard.sdk.aio`` instead."""
