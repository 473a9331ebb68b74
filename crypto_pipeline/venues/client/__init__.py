"""The client that all venues share: HTTP, websocket, request budget, circuit breaker, prefetch."""
