"""Where bytes are: local paths and object stores through one layer that waits and retries."""
