"""The ways of filtering, one module each: whatever decides which documents are kept is here."""
