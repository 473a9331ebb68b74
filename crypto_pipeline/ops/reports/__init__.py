"""The reports of 09:00 and 17:00: what they say, how they look in Slack and as a file, and that each is made once.

``content`` is the form, ``registry`` names the sections in order, ``sections`` make them from the store, ``slack``,
``html`` and ``text`` show them, ``publish`` stores a report and puts its message into the outbox. A room that has more
to tell adds a section to the registry.
"""
