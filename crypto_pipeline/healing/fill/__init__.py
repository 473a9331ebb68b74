"""Getting bars that are missing: from stored trades, from the venue, from a venue that stands in; explaining the rest."""
