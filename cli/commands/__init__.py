"""The commands of `mmr`, a file a family: each takes parsed words, calls the library once and shows the answer."""
