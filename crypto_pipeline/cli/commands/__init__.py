"""One module per group of commands. ``cli.app`` finds each of them here and calls its ``register``."""
