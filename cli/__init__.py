"""The command line `mmr`: it parses words, calls the library and shows what it answers."""
