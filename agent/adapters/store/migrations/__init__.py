"""How a store of any age becomes a store of today. Every step adds; none changes or removes."""
