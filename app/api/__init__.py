"""Predictions over HTTP and WebSocket: what `earshot serve` runs."""
