"""What the wire costs per record and per message, beside the libraries it is made of.

    python bench/wire.py [--records 500] [--json FILE]

Each figure is the best of several runs, in microseconds; the calibration loop tells how fast the machine was meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson
import zstandard

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from agent.model import ExchangeMessage, Op  # noqa: E402 - run from a checkout, installed or not
from agent.wire.compression import decompress  # noqa: E402
from agent.wire.envelope import Limits, MessageWriter, encode_record, open_body, read_records  # noqa: E402
from agent.wire.identity import RecordIds, data_hash  # noqa: E402
from agent.wire.keys import generate, load_signer, public_of  # noqa: E402
from agent.wire.signature import MESSAGE, KeyRing, Sealer  # noqa: E402

RUNS = 7
SECONDS = 0.15


class StillClock:
    """A clock that costs nothing."""

    def now(self) -> datetime:
        """Return always the same moment."""
        return datetime(2026, 11, 21, tzinfo=UTC)

    def monotonic(self) -> float:
        """Return always the same second."""
        return 0.0


def best_us(act: Callable[[], object]) -> float:
    """Return the microseconds of one call, best of several runs."""
    act()
    rounds, found = 1, float("inf")
    for _ in range(RUNS):
        while True:
            started = time.perf_counter()
            for _ in range(rounds):
                act()
            taken = time.perf_counter() - started
            if taken >= SECONDS / RUNS:
                break
            rounds *= 2
        found = min(found, taken / rounds)
    return found * 1e6


def sample(records: int) -> tuple[list[str], list[bytes], list[bytes]]:
    """Return key texts, keys and data of records with fifteen fields, about 370 octets each."""
    dice = random.Random(20261121)
    names = ("张伟", "王秀英", "李娜", "䶮三", "欧阳修")
    texts, keys, data = [], [], []
    for index in range(records):
        unit = f"5101{index:08d}"
        fields = {
            "unit_no": unit,
            "owner_name": dice.choice(names),
            "owner_id": f"5101011{dice.randrange(10**10):010d}",
            "status": "active",
            "registered_on": f"20{dice.randrange(26):02d}-03-{dice.randrange(1, 29):02d}",
            "region": "510100",
            "area": f"{dice.random() * 200:.2f}",
            "price": f"{dice.random() * 1e6:.2f}",
            "floor": dice.randrange(30),
            "rooms": 3,
            "mortgaged": False,
            "address": f"成都市武侯区人民南路{dice.randrange(999)}号",
            "phone": None,
            "updated_at": "2026-01-01T10:00:00+08:00",
            "note": "a" * dice.randrange(20),
        }
        texts.append(f'[["s","{unit}"]]')
        keys.append(orjson.dumps({"unit_no": unit}))
        data.append(orjson.dumps(fields))
    return texts, keys, data


def writer_of(pem: bytes) -> MessageWriter:
    """Return a writer of the example flow."""
    return MessageWriter(
        sender="d-1",
        receiver="hub-1",
        flow="f",
        epoch="e1",
        subject="s",
        dataschema="urn:x:1",
        signer=load_signer(pem),
        clock=StillClock(),
        random_bytes=os.urandom,
    )


def per_record(records: int) -> dict[str, float]:
    """Measure what is done for every record, in µs per record."""
    texts, keys, data = sample(records)
    ids = RecordIds("d-1", "f", "pg:7316420987650012345", "public.qszt")
    hashes = [data_hash(octets) for octets in data]
    found = [ids.of(text, f"e1:{index}", Op.UPSERT, one) for index, (text, one) in enumerate(zip(texts, hashes, strict=True))]
    encoded = [encode_record(*parts) for parts in zip(found, [Op.UPSERT] * records, keys, data, strict=True)]
    message = writer_of(generate()).records(1, encoded)
    text = decompress(message.body, message.encoding, 1 << 30)
    loose = json.dumps(orjson.loads(text)).encode()
    document = orjson.loads(text)
    compressor = zstandard.ZstdCompressor(level=1)
    measured: dict[str, Callable[[], object]] = {
        "hash of the data": lambda: [data_hash(octets) for octets in data],
        "record id": lambda: [ids.of(key, "e1:4711", Op.UPSERT, one) for key, one in zip(texts, hashes, strict=True)],
        "encode_record": lambda: [encode_record(i, Op.UPSERT, k, d) for i, k, d in zip(found, keys, data, strict=True)],
        "zstd level 1 (limit)": lambda: compressor.compress(text),
        "open_body + read_records": lambda: read_records(open_body(message.body, message.encoding, Limits())),
        "the same, foreign spelling": lambda: read_records(open_body(loose, "", Limits())),
        "orjson.loads (limit)": lambda: orjson.loads(text),
        "orjson.dumps (limit)": lambda: orjson.dumps(document),
        "zstd decompress (limit)": lambda: decompress(message.body, message.encoding, 1 << 30),
    }
    return {name: best_us(act) / records for name, act in measured.items()}


def per_message(records: int) -> dict[str, float]:
    """Measure what is done for every message, in µs per message."""
    _, keys, data = sample(records)
    encoded = [encode_record(f"{i:032x}", Op.UPSERT, k, d) for i, (k, d) in enumerate(zip(keys, data, strict=True))]
    found: dict[str, float] = {}
    for alg in ("EdDSA", "ES256"):
        for count in (1, records):
            measured = one_message(generate(alg), encoded[:count])
            found |= {f"{alg} {name}, {count} records": best_us(act) for name, act in measured.items()}
    return found


def one_message(pem: bytes, encoded: list[bytes]) -> dict[str, Callable[[], object]]:
    """Return what is done with one message under one key."""
    signer, ring, writer = load_signer(pem), KeyRing([public_of(pem, "d-1")]), writer_of(pem)
    message = writer.records(1, encoded)
    sealer = Sealer(signer, MESSAGE, "hub-1")
    return {
        "write": lambda: writer.records(1, encoded),
        "seal": lambda: sealer.seal(message.message_id, message.encoding, message.body),
        "sign (limit)": lambda: signer.sign(message.body),
        "verify": lambda: verify(ring, message),
    }


def verify(ring: KeyRing, message: ExchangeMessage) -> object:
    """Verify one message."""
    return ring.verify(message.jws, message.body, typ=MESSAGE, mid=message.message_id, cenc=message.encoding, audience="hub-1")


def main() -> None:
    """Measure, print a table, write JSON where asked."""
    parser = argparse.ArgumentParser(description="cost of the wire")
    parser.add_argument("--records", type=int, default=500)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = {
        "calibration_us": {"sum(range(10000))": best_us(lambda: sum(range(10_000)))},
        "per_record_us": per_record(options.records),
        "per_message_us": per_message(options.records),
    }
    for unit, figures in results.items():
        print(f"\n{unit}")
        for name, value in figures.items():
            print(f"  {name:36s} {value:9.3f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
