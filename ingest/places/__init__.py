"""Folders and files, here or in an object store: whole or not at all, one writer at a time."""
