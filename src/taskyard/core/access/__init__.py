"""Who may do what, as whom work runs, what it may be given, and which secrets are hidden."""
