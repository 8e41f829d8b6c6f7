"""What every entry point prints with, and how a process ends."""
