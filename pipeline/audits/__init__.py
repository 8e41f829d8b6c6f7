"""A night: its configuration, sample, requirements and verdict, and the nights before it."""
