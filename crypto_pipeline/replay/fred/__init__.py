"""FRED's side of the replay exchange: macro series with vintages, generated or recorded, behind FRED's own protocol.

Here belongs what FRED states and when. Nothing here knows the client that reads it.
"""
