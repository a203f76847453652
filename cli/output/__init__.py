"""What a person or a program reads: tables, JSON lines, contact sheets, folders, pictures in a terminal."""
