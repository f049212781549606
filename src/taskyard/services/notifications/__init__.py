"""What is announced: changes inside the process, webhooks and messages to the outside."""
