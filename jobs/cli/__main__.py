"""`python -m jobs.cli`: the command where its script is not on PATH."""

from jobs.cli.main import main

main()
