"""From rows to scores. Read shard.py first."""
