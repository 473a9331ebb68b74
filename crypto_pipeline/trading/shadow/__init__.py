"""Shadow variants: what each differs in, the test whether one is better than production, and what it recommends.

Belongs here: pure functions of ledgers and parameters. Not here: the ledgers themselves, which the simulator makes.
"""
