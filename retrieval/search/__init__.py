"""From a query to its hits: sums, filters, confidence, diversity, near-duplicates."""
