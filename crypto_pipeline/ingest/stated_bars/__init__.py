"""Ingest of a venue that states bars, but no ids that show a missing trade: provisional bars until REST has spoken."""
