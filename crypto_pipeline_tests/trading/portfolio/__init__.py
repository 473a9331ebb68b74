"""Figures of portfolios and the ledger as a journal."""
