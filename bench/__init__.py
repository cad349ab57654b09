"""Benchmarks: what was measured, beside the floor measured in the same run.

All of them: `python -m bench`; some: `python -m bench embed memory`.
"""
