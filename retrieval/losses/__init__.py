"""Losses of a batch of pairs, computed in tiles so that the square of the batch is never in memory."""
