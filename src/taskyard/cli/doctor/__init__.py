"""The checks of ``taskyard doctor``: each a small function that answers with findings."""
