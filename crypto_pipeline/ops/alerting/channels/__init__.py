"""Ways by which a message leaves: Slack by webhook, Slack by bot token, and whatever apprise knows.

Each says of a message that it arrived, that it did not, or that this is not known. No address, token or message of a
channel is logged, and errors name none of them.
"""
