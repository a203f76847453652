"""Records found by the words in them: an FTS5 table within mmr.db, changed in the same transactions as the rows."""
