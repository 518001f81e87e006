"""What is an event, and what it is called for ever."""

from __future__ import annotations

from agent.model import MessageKind, Op
from agent.testing.scripted_source import ScriptedSource
from agent.wire.control import EpochOpen, decode_control
from agent.wire.envelope import Limits, open_body
from tests.unit.services.capture_kit import FLOW, SENDER, Bench, by_id


def test_rows_become_records_in_order() -> None:
    """Every row is one upsert with its mapped key and data, in the order of the source."""
    bench = Bench()
    bench.script.put((1, "张三"), (2, "李四"))
    bench.run()
    assert [(s.op, s.key, s.data) for s in bench.sent()] == [
        (Op.UPSERT, {"id": 1}, {"id": 1, "name": "张三"}),
        (Op.UPSERT, {"id": 2}, {"id": 2, "name": "李四"}),
    ]


def test_the_epoch_is_opened_before_all_records_and_once() -> None:
    """The first message of a flow introduces its epoch; neither a reconnect nor a restart repeats it."""
    bench = Bench()
    bench.script.put((1, "a"))
    bench.run()
    bench.restart()
    bench.script.put((2, "b"))
    bench.run()
    messages = [entry.message for entry in bench.store.pending(FLOW, 0, 100)]
    assert [m.kind for m in messages] == [MessageKind.CONTROL, MessageKind.RECORDS, MessageKind.RECORDS]
    opening = decode_control(open_body(messages[0].body, messages[0].encoding, Limits()))
    assert opening == EpochOpen(FLOW, "e0", "")


def test_there_and_back_again_are_three_events() -> None:
    """A → B → A are three records with three ids, though the first and the last are equal."""
    bench = Bench()
    for name in ("A", "B", "A"):
        bench.script.put((1, name))
        bench.run()
    assert [name for _, name in bench.names()] == ["A", "B", "A"]
    assert len(by_id(bench.sent())) == 3


def test_a_delete_and_an_insert_are_two_events() -> None:
    """In a log a record that is deleted and inserted again unchanged gives a delete and an upsert of its own."""
    bench = Bench(ScriptedSource(log=True))
    bench.script.put((1, "A"))
    bench.script.delete(1)
    bench.script.put((1, "A"))
    bench.run()
    assert [(s.op, s.data) for s in bench.sent()] == [
        (Op.UPSERT, {"id": 1, "name": "A"}),
        (Op.DELETE, None),
        (Op.UPSERT, {"id": 1, "name": "A"}),
    ]
    assert len(by_id(bench.sent())) == 3


def test_an_overlapping_reread_is_no_event() -> None:
    """Rows that come again unchanged emit nothing and write nothing."""
    bench = Bench(ScriptedSource(overlap=5))
    bench.script.put((1, "A"), (2, "B"))
    bench.run()
    before = bench.store.open_flow(FLOW)
    for _ in range(3):
        bench.run()
    assert bench.names() == [(1, "A"), (2, "B")]
    assert bench.store.open_flow(FLOW) == before


def test_a_changed_row_among_rereads_is_one_event() -> None:
    """Of rows that come again only the one that changed is sent."""
    bench = Bench(ScriptedSource(overlap=10))
    bench.script.put((1, "A"), (2, "B"), (3, "C"))
    bench.run()
    bench.script.put((2, "β"))
    bench.run()
    assert bench.names() == [(1, "A"), (2, "B"), (3, "C"), (2, "β")]


def test_a_row_that_comes_twice_in_a_batch_is_one_event() -> None:
    """Equal rows of a key in one batch are one event, different ones are two."""

    class Stuttering(ScriptedSource):
        def _latest(self) -> list:  # type: ignore[type-arg]
            return [*self._changes]

    bench = Bench(Stuttering())
    bench.script.put((1, "A"), (1, "A"), (1, "B"), (2, "x"), (1, "B"), (1, "A"))
    bench.run()
    assert bench.names() == [(1, "A"), (1, "B"), (2, "x"), (1, "A")]


def test_the_same_history_gives_the_same_ids() -> None:
    """Record ids depend on sender, flow, incarnation, key, token and data, not on time or process."""
    ids = []
    for _ in range(2):
        bench = Bench()
        bench.clock.advance(len(ids) * 1000)
        bench.script.put((1, "A"), (2, "B"))
        bench.run()
        bench.script.put((1, "A2"))
        bench.run()
        ids.append([s.id for s in bench.sent()])
    assert ids[0] == ids[1]


def test_another_incarnation_gives_other_ids() -> None:
    """The same row in another source is another record."""
    ids = set()
    for name in ("one", "other"):
        bench = Bench(ScriptedSource(incarnation=name))
        bench.script.put((1, "A"))
        bench.run()
        ids |= {s.id for s in bench.sent()}
    assert len(ids) == 2


def test_the_id_is_what_the_protocol_says() -> None:
    """The id is the beginning of SHA-256 over the array of PROTOCOL §2, with (epoch, ordinal) as token."""
    import hashlib
    import json

    bench = Bench()
    bench.script.put((7, "䶮"))
    bench.run()
    (sent,) = bench.sent()
    data = hashlib.sha256('{"id":7,"name":"䶮"}'.encode()).hexdigest()
    array = [1, SENDER, FLOW, "scripted", "people", [["i", "7"]], "e0:1", "upsert", data]
    octets = json.dumps(array, ensure_ascii=False, separators=(",", ":")).encode()
    assert sent.id == hashlib.sha256(octets).hexdigest()[:32]


def test_tokens_of_a_log_are_used_as_they_are() -> None:
    """Where the source gives a log position, reading the log again into an empty store gives the same ids."""
    source = ScriptedSource(log=True)
    source.put((1, "A"), (1, "B"))
    first, second = Bench(source), Bench(source)
    for bench in (first, second):
        bench.run()
        bench.service.finish()
    assert [s.id for s in first.sent()] == [s.id for s in second.sent()]


def test_ordinals_and_sequences_continue_after_a_restart() -> None:
    """Counters go on where the store left them; nothing is numbered twice."""
    bench = Bench()
    for number in range(4):
        bench.script.put((number, "x"))
        bench.run()
        bench.restart()
    assert bench.sequences() == [1, 2, 3, 4]
    assert bench.store.open_flow(FLOW).counters.next_ordinal == 5
    by_id(bench.sent())
