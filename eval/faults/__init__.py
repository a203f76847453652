"""A kernel's view of file operations, to refuse one call, kill there, or cut the power."""
