"""Where items and pairs come from: folders, tables, archives, the web, drawn scenes."""
