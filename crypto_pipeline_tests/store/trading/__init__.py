"""Tests of the tables of trading."""
