"""From pairs to an encoder: the one loop and what it is made of."""
