"""A run on disk: its records, its parts, and the reader of its scores."""
