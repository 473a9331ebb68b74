"""Writing trades and live prices; trades that are refused; stored trades as a source of bars."""
