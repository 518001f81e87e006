"""One file per step. A file, once released, is never edited."""
