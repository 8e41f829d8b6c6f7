"""Is every input row in the run, and are its scores true."""
