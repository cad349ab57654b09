"""One module a view: layout only."""
