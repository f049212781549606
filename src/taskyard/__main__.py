"""``python -m taskyard`` is the command line."""

from taskyard.cli.main import main

main()
