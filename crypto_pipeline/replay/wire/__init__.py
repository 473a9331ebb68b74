"""Stream frames, the state of one connection, and a cache bounded by bytes."""
