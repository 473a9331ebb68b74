"""Features where they meet the store: bringing stored rows up to date, live rows, checks."""
