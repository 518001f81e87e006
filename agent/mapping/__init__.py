"""A flow's `map:` compiled to a function from rows to records. Pure: no clock, no random, no I/O.

- `spec`: what an operator wrote
- `compile`: a spec and the source's columns → `Mapper`
- `mapper`: rows → keys, record data, what was rejected
- `field`: one field, for a value and for a whole column
- `plain`, `codes`, `dates`, `numbers`: conversions, each for a value and for a whole column
- `keys`: canonical key text
- `problems`, `suggest`: what can be wrong with a spec
- `unfit`, `shape`, `masking`: what may be said about a value that must not be shown
- `explain`: one row, field by field, for preview
"""
