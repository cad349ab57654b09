"""Embeddings and labels become heads, measures, reports and predictions. Knows nothing of where audio came from."""
