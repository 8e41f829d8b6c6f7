"""What each `winnow` command does and prints, once its options are read."""
