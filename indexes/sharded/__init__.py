"""Several indexes searched as one: a manifest, who answers for each, and a reader that merges what they say."""
