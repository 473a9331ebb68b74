"""Figures for checks, scrapes and health pages: bounded queries on our tables and on those of Dagster."""
