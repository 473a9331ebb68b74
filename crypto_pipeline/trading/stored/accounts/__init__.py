"""What is shown of accounts, and whether their books may be believed."""
