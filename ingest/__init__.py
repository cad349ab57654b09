"""Audio in: segments, folders and released features become clips and rows. Knows nothing of models."""
