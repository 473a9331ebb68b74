"""Commands of trading: why there is a trade, the account, its limits, replays and shadow variants."""
