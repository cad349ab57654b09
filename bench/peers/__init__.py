"""The ways people embed audio today, written plainly from their public descriptions, for timing beside ours.

Each module offers `load() -> Callable[[Path], array]`: one file in, its vectors out, one file at a time. They share
random weights with ours where ours are random: what a product costs does not depend on what is in it.
"""
