"""One module of checks per subject. Each has ``CHECKS``, which the registry collects."""
