"""Who is asking and what they may do: credentials, users, secrets, the audit trail."""
