"""Bars that are expected and absent: what is missing, and what of it nothing has asked for yet.

Only reads belong here; asking a venue for what is missing is in ``healing``.
"""
