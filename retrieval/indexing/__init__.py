"""From a source to an index that holds exactly its pictures: updates, renames, other encoders."""
