"""The files of the live page: what is vendored, and what its modules may use."""
