"""Options that several commands share: how they are given, and what they become."""
