"""What each feature is: its formula over arrays of bars, and the registry of all features. Pure."""
