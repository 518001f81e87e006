"""Bytes to records and back: streaming, pure, without a notion of paths.

- `encodings`: which encoding a file is in, and how its bytes become text
- `gb18030`: the euro sign of Windows, and real code points for what Python's codec puts into private use
- `csv_reader`: rows of a CSV file, each with its place, broken ones put aside with their bytes
- `csv_rows`: where one row ends and the next begins
- `csv_writer`: the rejects file, which an operator corrects and drops again
"""
