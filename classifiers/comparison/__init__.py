"""Heads against each other on the same splits: what is run, what is kept of it, how they rank."""
