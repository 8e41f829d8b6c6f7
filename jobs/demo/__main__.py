"""`python -m jobs.demo [FOLDER]`."""

from jobs.demo.demo import main

main()
