"""Figures for scrapes and health pages: bounded queries on the tables of the deployment and on those of Dagster."""
