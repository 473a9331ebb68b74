"""Commands of operation: checks, backups, retention and disk use."""
