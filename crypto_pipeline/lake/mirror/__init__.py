"""Makes the mirror: writes files of stale days, reads them back, switches days to them, and removes what is left."""
