"""What reading adds for stocks: bars adjusted for corporate actions, and closures of exchanges beside the ledger."""
