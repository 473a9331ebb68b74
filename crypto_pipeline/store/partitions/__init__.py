"""Month and day tables: named, made ahead of time, built beside the one in use, swapped, compacted."""
