"""Where trading meets the store: passes over new bars, replays of the past, and what is read of them."""
