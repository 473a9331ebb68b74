"""A person's view: the running thing in a real browser."""
