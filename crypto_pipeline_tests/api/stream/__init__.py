"""Tests of the stream: real sockets, a real database."""
