"""How tables, numbers and pages look, whatever they are of."""
