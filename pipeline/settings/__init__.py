"""What can be asked for: every setting, and where its value is from."""
