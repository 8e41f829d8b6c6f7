"""From a request to a frozen plan: files, shards, rules, costs."""
