"""Output files of attempts, kept within their limits: what all runtimes share about them."""
