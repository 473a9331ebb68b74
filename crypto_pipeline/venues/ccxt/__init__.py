"""Any exchange of the package ccxt as a venue: ``ccxt_bitstamp``, ``ccxt_okx``. Only ``library`` imports ccxt.

ccxt knows addresses, parameters and bodies of the exchanges. Requests go through our client: its budget, pauses,
retries and bounds. Sockets of streams are ccxt's own. What ccxt does not know of an exchange (whether it leaves out
bars, how it cuts pages) is never assumed.
"""
