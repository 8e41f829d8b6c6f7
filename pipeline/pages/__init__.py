"""Everything that people see: words, tables, charts, pages. Decides nothing."""
