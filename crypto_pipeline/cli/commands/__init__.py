"""One module per group of commands. ``cli.app`` puts them together."""
