"""Labels where they meet the store: bringing stored rows up to date, training sets, checks."""
