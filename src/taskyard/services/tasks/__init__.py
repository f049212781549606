"""Tasks as callers see them: submit, validate, look, follow, forget; their groups and output."""
