"""The stream: what changes is sent to programs and pages over a websocket as soon as it is stored.

``hub`` keeps a state for each channel that somebody follows, reads what notifications of the database name, and offers
each change, encoded once, to all. ``sources`` read, ``session`` speaks with one client. Nothing here decides what is
stored.
"""
