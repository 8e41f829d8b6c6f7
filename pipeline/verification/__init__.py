"""Whether every input row is in the run, and whether its scores are true."""
