"""A run on Ray: its driver, its workers and what they need of a cluster."""
