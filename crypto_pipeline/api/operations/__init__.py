"""Health, metrics and the cache routes over HTTP: what a deployment says of itself, and runs that a request starts.

All of it reads over connections of its own and in threads of its own, so that it never waits for reads of bars.
"""
