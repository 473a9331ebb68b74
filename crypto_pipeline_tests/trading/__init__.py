"""Trading: scans, sizes, limits, the ledger, shadow variants, brokers."""
