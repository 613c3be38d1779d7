"""Small tools without torch: errors, checks, serialization, files that are written whole, and paths."""
