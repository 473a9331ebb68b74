"""Partitions by month and day: named, made ahead of time, built beside the one in use, swapped, compacted, vacuumed.

Which rows go where is decided by the rooms that write them, and what is archived by ``archive``.
"""
