"""Bytes to pixels: what a file holds, decoded safely, with what it says of itself."""
