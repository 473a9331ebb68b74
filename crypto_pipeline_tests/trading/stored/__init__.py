"""Trading on a real database."""
