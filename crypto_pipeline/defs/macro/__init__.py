"""Macro series: their source, their observations with checks, and when they are asked for."""
