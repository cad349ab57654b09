"""Waveforms become embeddings; embeddings live in stores. Knows nothing of heads or the web."""
