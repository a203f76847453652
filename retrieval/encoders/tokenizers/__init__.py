"""Texts to token rows: our own, CLIP's, the model hub's; each can be saved for a query."""
