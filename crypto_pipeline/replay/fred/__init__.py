"""FRED's side of the replay exchange: macro series with vintages, generated or recorded, behind FRED's own protocol.

Here belong the series, their publications and FRED's REST interface. Not here: the client of FRED (venues).
"""
