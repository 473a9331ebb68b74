"""What happens at a start and not again: databases made ready, instruments chosen, ingest begun, progress told.

The programs and their supervision stand beside it; nothing here watches anything for long.
"""
