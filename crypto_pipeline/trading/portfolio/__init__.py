"""What trading has come to: figures of equity curves and of trades, and the ledger as a journal. Pure, no I/O."""
