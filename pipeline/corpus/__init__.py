"""The corpus: its files, their columns, the reader of its rows."""
