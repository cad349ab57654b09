"""Audio files become samples: decoded, resampled, in windows of at most ten seconds."""
