"""Words on a terminal, nothing more."""
