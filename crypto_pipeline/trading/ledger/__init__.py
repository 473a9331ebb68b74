"""The ledger of an account, pure: postings of a fill, frames of what is booked, corrections.

Not here: when something is booked and what is decided, which ``simulate`` says, and SQL.
"""
