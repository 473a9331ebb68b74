"""The client that all venues share.

REST on httpx: ``http`` (retries, pauses, breaker, budget), ``transport`` and ``sockets`` (connections), ``proxy``,
``bodies`` (bounded bodies), ``responses``; ``rest_venue`` is the base of every REST client, ``prefetch`` runs its
requests. Streams on websockets: ``websocket`` (one connection), ``frame_parser`` and ``stream_venue`` (bases of every
stream). ``breaker``, ``budget`` and ``timestamps`` serve both. Nothing here depends on a particular venue.
"""
