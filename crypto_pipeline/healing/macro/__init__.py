"""Macro series: asked for when there may be news, stored with vintages, checked for releases that did not come."""
