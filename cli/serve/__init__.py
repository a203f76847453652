"""`mmr serve`: the HTTP face of indexes. app.py puts it together; what must not happen is in guards.py."""
