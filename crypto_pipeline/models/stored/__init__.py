"""Models where they meet the store: training in a process of its own, registry, promotion, predictions, checks."""
