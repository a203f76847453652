"""Encoders: two towers and all that belongs to them; loaded, saved, exported, asked in bulk."""
