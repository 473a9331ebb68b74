"""Checks that prove what is stored: each names the instruments and times that fail."""
