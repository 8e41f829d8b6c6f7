"""A command as a Ray job on a cluster that is already there."""
