"""Ports to brokers: what they must be able to do, what is asked of them next, and those that are known.

Belongs here: adapters and the pure plan of a position's orders. Not here: what was sent and what came of it, which is
stored first (``trading/stored/order_desk``).
"""
