"""What became of every requested segment, and what a failure means."""
