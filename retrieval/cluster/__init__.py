"""Past one machine, on Ray: the indexing line, search over shards, and training. Nothing else knows Ray."""
