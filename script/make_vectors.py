"""Write tests/vectors: keys, record ids, messages, receipts, and what must be refused. The same octets every time.

    script/make_vectors.py            write them
    script/make_vectors.py --check    write nothing; exit 1 and name them when those on disk differ

The zstd frames depend on the version of libzstd (manifest.json names it); the rest depends on nothing but these programs.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import zstandard

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "tests" / "vectors"
sys.path[:0] = [str(ROOT), str(ROOT / "script")]

from wire_vectors.accepted import messages, receipts, record_ids  # noqa: E402
from wire_vectors.parties import DEPARTMENT, HUB, KEYS, Json  # noqa: E402
from wire_vectors.refused import refused  # noqa: E402

from agent.wire.codes import CODES  # noqa: E402 - run from a checkout, installed or not
from agent.wire.limits import Limits  # noqa: E402


def documents() -> dict[str, object]:
    """Return every file by its path under tests/vectors."""
    found: dict[str, object] = {"manifest.json": manifest(), "record-ids.json": record_ids()}
    for key in KEYS.values():
        found |= key.files()
    families: dict[str, dict[str, Json]] = {"messages": messages(), "receipts": receipts(), "refused": refused()}
    for family, vectors in families.items():
        found |= {f"{family}/{name}.json": vector for name, vector in vectors.items()}
    return found


def manifest() -> Json:
    """Return what a verifier must know beforehand."""
    return {
        "about": "Wire format 1 of Huitong. docs/wire-format.md explains these files. All keys are test keys.",
        "department": DEPARTMENT,
        "hub": HUB,
        "limits": asdict(Limits()),
        "reasons": {entry.code: entry.outcome.value for entry in CODES.values()},
        "zstd": ".".join(map(str, zstandard.ZSTD_VERSION)),
    }


def main(arguments: list[str]) -> int:
    """Write the vectors, or compare them."""
    made = {
        OUT / name: json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n" for name, document in documents().items()
    }
    stale = {path for path in OUT.rglob("*.j*") if path not in made}
    differing = {path for path, octets in made.items() if not path.exists() or path.read_bytes() != octets}
    if arguments == ["--check"]:
        for path in sorted(stale | differing):
            print(f"differs: {path.relative_to(ROOT)}", file=sys.stderr)
        return 1 if stale | differing else 0
    for path in stale:
        path.unlink()
    for path in differing:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made[path])
    print(f"{len(made)} vectors, {len(differing)} written, {len(stale)} removed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
