"""Snapshots -> HTML, a module for each thing that the page shows. Pure; every name from outside is escaped."""
