"""One batch over many processes: ranks, a ring of captions, a model in shards."""
