"""What can be said of scores: how good, how sure, how believable. NumPy only, pure."""
