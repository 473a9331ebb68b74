"""Tests of shadow variants."""
