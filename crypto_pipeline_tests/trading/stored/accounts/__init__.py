"""What is shown of accounts, and the checks of their books."""
