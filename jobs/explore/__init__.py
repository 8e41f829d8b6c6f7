"""`winnow explore`: a page from this machine, for one person."""
