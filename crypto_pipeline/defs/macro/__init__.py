"""Macro series: their source as an asset, their observations with checks, and when they are asked for."""
