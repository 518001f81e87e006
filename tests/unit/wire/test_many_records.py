"""Many records at once are the same octets as one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.model import Op
from agent.wire.envelope import encode_record, encode_records
from agent.wire.identity import RecordIds, data_hash

keys = st.text(max_size=8).map(lambda text: '[["s",' + repr(text.encode("unicode_escape"))[1:].replace("'", '"') + "]]")
tokens = st.text(st.characters(codec="utf-8"), max_size=12)
times = st.none() | st.just("2026-11-21T08:00:00+00:00") | st.text(st.characters(codec="utf-8"), max_size=5)
octets = st.binary(max_size=20)


@given(st.lists(st.tuples(keys, tokens, octets), max_size=20), st.sampled_from(list(Op)))
def test_ids_of_many(records: list[tuple[str, str, bytes]], op: Op) -> None:
    """Whatever characters tokens have, the ids are those of the single form."""
    ids = RecordIds("d1", "流", "i", "public.t")
    hashes = [data_hash(data) for _, _, data in records]
    many = ids.of_many([key for key, _, _ in records], [token for _, token, _ in records], op, hashes)
    assert many == [ids.of(key, token, op, hash_) for (key, token, _), hash_ in zip(records, hashes, strict=True)]


@given(st.lists(st.tuples(octets, octets, times), max_size=20), st.booleans(), st.sampled_from(list(Op)))
def test_octets_of_many(records: list[tuple[bytes, bytes, str | None]], timed: bool, op: Op) -> None:
    """With times or without, each record is what `encode_record` writes."""
    ids = [f"{number:032x}" for number in range(len(records))]
    key_json, data = [record[0] for record in records], [record[1] for record in records]
    ats = [record[2] for record in records] if timed else None
    expected = [encode_record(i, op, k, d, at) for i, k, d, at in zip(ids, key_json, data, ats or [None] * len(ids), strict=True)]
    assert encode_records(ids, op, key_json, data, ats) == expected
