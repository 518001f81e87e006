"""The makers of tests/vectors; see script/make_vectors.py."""
