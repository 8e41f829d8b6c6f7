"""Runs side by side: which may be compared, and what moved."""
