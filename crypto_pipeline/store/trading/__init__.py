"""Tables of trading: scans, signals, orders, the ledger, shadow variants, and the outbox of brokers.

Belongs here: their SQL. Not here: what is decided and booked, which ``trading`` says.
"""
