"""The exchange node: admission, ingest, store, receipts."""
