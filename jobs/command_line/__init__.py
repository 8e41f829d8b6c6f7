"""The options of each `winnow` command, in groups; jobs/cli.py joins them."""
