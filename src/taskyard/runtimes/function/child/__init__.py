"""What runs inside the processes of functions: the standard library and nothing else."""
