"""Shadow variants where they meet the store: their ledgers and tests, and the changes that a person makes."""
