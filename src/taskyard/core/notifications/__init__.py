"""What is reported to the outside: webhooks, messages, and where they may be sent."""
