"""What people touch: the `earshot` command and the demo."""
