"""Orders at the replay exchange, pure: accounts, filters, and how the trades of the tape fill what rests.

Nothing here knows a socket, a clock or a file: times are passed in, and what happened comes back as events. The orders
of an account never change the tape: they are small, and the market does not see them.
"""
