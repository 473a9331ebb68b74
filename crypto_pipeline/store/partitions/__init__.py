"""Partitions by month and day: their names, making them in advance, rebuilding, swapping, compacting, vacuuming.

The modules that write rows choose the partition; ``archive`` decides what is archived.
"""
