"""A file a family of commands: each parses, makes one call and shows what came of it."""
