"""Which documents a rule keeps, and the corpus written again with those."""
