"""Approximate search with FAISS: derived from the rows, tuned on text, made again when it is lost."""
