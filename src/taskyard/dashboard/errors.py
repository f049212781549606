"""What can go wrong while the dashboard is put together."""

from taskyard.core.errors import TaskyardError


class AssetsMissing(TaskyardError):
    """Files of the dashboard are missing from the installation; install Taskyard again."""
