"""`mmr mcp`: an index as tools of the Model Context Protocol. server.py speaks it; tools.py is what can be asked."""
