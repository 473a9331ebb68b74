"""Strategies: one module each, with its parameters, the conditions of its setups and its barriers. Pure.

``registry`` names them all; ``base`` has what they share.
"""
