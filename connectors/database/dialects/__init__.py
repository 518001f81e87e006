"""What differs between databases: one module each, and what they share in `base`."""
