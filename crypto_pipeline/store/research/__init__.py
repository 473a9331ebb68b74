"""Tables of features and labels, their history, and what they were computed from."""
