"""HTTP for programs: bars, latest bars, gaps, coverage and instruments, in the format that the client accepts.

Here belongs what HTTP is about: addresses, formats, paging, validators, limits, errors as problem+json. What an answer
holds is decided in ``reading``; nothing here has SQL, knows Dagster or writes.
"""
