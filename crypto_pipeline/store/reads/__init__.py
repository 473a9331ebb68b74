"""Reading bars and trades: table and archive as one answer."""
