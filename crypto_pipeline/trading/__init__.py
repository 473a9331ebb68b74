"""From signal to ledger: scans, sizes, risk limits, the paper broker as a fold, shadow variants, ports to brokers.

Belongs here: what is decided and booked, as pure functions of bars, parameters and the ledger; ``stored/`` is where
they meet the store. Not here: what a setup is (``labels``), what a model says (``models``), SQL (``store/trading``).
"""
