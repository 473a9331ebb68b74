"""The true market behind the exchange: a generated or recorded tape of trades and bars."""
