"""National standards as pure functions and data: identifiers, code lists, and the checks that flows name.

The confidence behind each fact is marked: [S] read in a published source, [R] computed and checked by running it, [G] general
knowledge. Conformance to a standard whose text was not available is not claimed.

- `cn_id`, `uscc`, `org_code`, `region`, `excel`, `phone`: one identifier each
- `judgement`: what a check says
- `checks`: name → check, for whole columns
- `code_lists`: GB code lists, as data files
- `lanes`: arithmetic on many equally long values at once
"""
