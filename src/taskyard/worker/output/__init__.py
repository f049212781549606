"""Output of attempts on this worker's disk: directories, log files, results, and their archive."""
