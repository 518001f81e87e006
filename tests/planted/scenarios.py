"""One focused scenario for each way the product could break its promises; each ends with the ledger check.

On the product as it is every one of them passes. With the defect it was written for, the check fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.amqp.address import BrokerAddress
from agent.adapters.amqp.admin import AmqpAdmin
from agent.adapters.amqp.sink import AmqpSink
from agent.app.overview import gather
from agent.mapping.spec import FieldSpec, MapSpec
from agent.model import Outcome
from agent.ports import Parcel, Source
from agent.services.connecting import ROUND_SECS
from agent.testing.broker import Rights
from agent.testing.links import Fault
from agent.testing.nodes.rabbitmq import BrokerSpace
from agent.testing.scripted_source import ScriptedSource
from agent.wire.event import RECEIPT_TYPE
from agent.wire.keys import generate, load_signer
from agent.wire.receipt import Statement, write_receipt
from agent.wire.signature import Signer
from agent.wire.topology import DELIVERY_EXCHANGE, ingress_exchange, receipt_queue
from connectors.file_drop.settings import FileDropFrom
from connectors.file_drop.source import FileDropSource
from connectors.wiring import Wiring
from hub.errors import StoreUnavailable
from tests.planted.ledgers import Violation, require
from tests.planted.line import CODE, FLOW, HUB, Crash, Line, crash_at, line
from tests.unit.settings.kit import load_text


@dataclass(frozen=True)
class Stage:
    """What a scenario gets: an empty folder, and a virtual host at a real RabbitMQ for those that need one."""

    folder: Path
    rabbit: Callable[[], BrokerSpace]


Scenario = Callable[[Stage], None]


def person(number: int, name: str) -> dict[str, object]:
    return {"id": number, "name": name}


def three(line: Line) -> dict[object, list[object]]:
    """Capture three people and return what should arrive."""
    line.script.put((1, "张三"), (2, "李四"), (3, "王五"))
    line.capture()
    return {1: [person(1, "张三")], 2: [person(2, "李四")], 3: [person(3, "王五")]}


def one_settled(line: Line) -> dict[object, list[object]]:
    """Bring one person all the way, so that the hub takes messages ahead; return what should arrive."""
    line.script.put((0, "孙八"))
    line.capture()
    line.settle()
    return {0: [person(0, "孙八")]}


# -- identity and capture --------------------------------------------------------------------------------------------


def there_and_back_again(stage: Stage) -> None:
    """A → B → A are three versions of one record, though the first and the last are equal."""
    with line(stage.folder) as own:
        for name in ("甲", "乙", "甲"):
            own.script.put((1, name))
            own.capture()
            own.settle()
        require(own, {1: [person(1, "甲"), person(1, "乙"), person(1, "甲")]})


def overlapping_polls(stage: Stage) -> None:
    """A table is polled again and again with an overlap: rows that come again unchanged are no events."""
    with line(stage.folder, ScriptedSource(overlap=10)) as own:
        expected = three(own)
        own.capture()
        own.script.put((2, "李四四"))
        own.capture()
        own.capture()
        own.settle()
        require(own, {**expected, 2: [person(2, "李四"), person(2, "李四四")]})


def outbox_lost(stage: Stage) -> None:
    """The agent's disk is gone; a log is read again from its beginning and nothing is stored twice."""
    with line(stage.folder, ScriptedSource(log=True)) as own:
        expected = three(own)
        own.settle()
        own.kill_agent(with_disk=True)
        own.capture()
        own.settle()
        require(own, expected)


def killed_inside_the_append(stage: Stage) -> None:
    """The agent dies inside the transaction of an append; the next process reads the same rows again (I1)."""
    with line(stage.folder) as own:
        expected = three(own)
        own.script.put((4, "赵六"))
        with crash_at("C02"):
            died(own.capture)
        own.kill_agent()
        own.capture()
        own.settle()
        require(own, {**expected, 4: [person(4, "赵六")]})


def killed_before_the_append(stage: Stage) -> None:
    """The agent dies between reading a dropped file and making it durable; the file must still be there (I9)."""
    folder = stage.folder / "drop"
    folder.mkdir()
    with line(stage.folder, lambda own: dropped(own, folder)) as own:
        own.capture()
        (folder / "a.csv").write_text("id,name\n1,张三\n2,李四\n", "utf-8")
        with crash_at("C01"):
            died(own.capture)
        own.kill_agent()
        own.capture()
        own.settle()
        require(own, {"1": [{"id": "1", "name": "张三"}], "2": [{"id": "2", "name": "李四"}]})


def exact_amounts(stage: Stage) -> None:
    """Amounts arrive digit for digit, also those that no binary fraction can hold."""
    spec = MapSpec(fields=(FieldSpec("id", "id"), FieldSpec("amount", "name", decimal=2)), key=("id",))
    amounts = ["12345678901234567.89", "0.10", "-9007199254740993.01", "100"]
    with line(stage.folder, spec=spec) as own:
        own.script.put(*enumerate(amounts, 1))
        own.capture()
        own.settle()
        said = [*amounts[:3], "100.00"]
        require(own, {number: [{"id": number, "amount": text}] for number, text in enumerate(said, 1)})


def broken_characters(stage: Stage) -> None:
    """A row whose bytes are no characters is put aside; it is never sent with something else in their place."""
    folder = stage.folder / "drop"
    folder.mkdir()
    with line(stage.folder, lambda own: dropped(own, folder, encoding="gb18030")) as own:
        octets = "id,name\n1,张三\n".encode("gb18030") + b"2,\xff\xfe\xff\n" + "3,王五\n".encode("gb18030")
        (folder / "a.csv").write_bytes(octets)
        own.capture()
        own.settle()
        good = {number: [{"id": number, "name": name}] for number, name in (("1", "张三"), ("3", "王五"))}
        require(own, good, put_aside=["undecodable"])


# -- on the way ------------------------------------------------------------------------------------------------------


def nack_in_the_window(stage: Stage) -> None:
    """The broker refuses one message of a window; nothing new is sent before that one was taken (PROTOCOL 2)."""
    with line(stage.folder, unconfirmed=4) as own:
        own.script.put((1, "甲"))
        own.capture()
        own.settle()  # the opening of the epoch and one message
        own.broker.script([Fault.NONE, Fault.NACK])
        expected: dict[object, list[object]] = {1: [person(1, "甲")]}
        for number in range(2, 14):
            own.script.put((number, "乙"))
            own.capture()
            expected[number] = [person(number, "乙")]
        own.settle()
        require(own, expected)


def connection_lost_before_the_message(stage: Stage) -> None:
    """The connection breaks before a message has arrived: it is pending still, whatever was written to the socket."""
    with line(stage.folder) as own:
        expected = three(own)
        own.send()
        own.broker.script([Fault.DROP_BEFORE])
        own.script.put((4, "赵六"))
        own.capture()
        own.send(1)
        require(own, expected, finished=False)
        own.settle()
        require(own, {**expected, 4: [person(4, "赵六")]})


def no_route(stage: Stage) -> None:
    """At a real broker nothing is bound to the department's exchange: what it takes and drops is not confirmed (I4)."""
    space = stage.rabbit()
    address = BrokerAddress.parse(space.url)
    with AmqpAdmin(address) as admin:
        admin.declare_exchange(ingress_exchange(CODE), "fanout")
    sink = AmqpSink(address, user_id=space.user, app_id="huitong")
    with line(stage.folder, sink=sink) as own:
        three(own)
        for _ in range(5):
            own.send(1, secs=ROUND_SECS)
        require(own, {}, finished=False)


def purge_before_the_receipt(stage: Stage) -> None:
    """A month goes by between the broker's confirm and the news that the hub never got it: the bodies are still there (I3)."""
    with line(stage.folder) as own:
        expected = three(own)
        own.send()
        own.lose_queue()
        own.clock.advance(31 * 86_400.0)
        own.maintenance.purge()
        own.ask()
        own.settle()
        require(own, expected)


# -- the hub ---------------------------------------------------------------------------------------------------------


def hub_killed_before_the_commit(stage: Stage) -> None:
    """The hub dies with messages in hand: the broker still has them (I5)."""
    with line(stage.folder) as own:
        before = one_settled(own)
        expected = {**before, **three(own)}
        own.send()
        with crash_at("C12"):
            died(own.hub.ingest)
        own.hub.die()
        require(own, before, finished=False)
        own.settle()
        require(own, expected)


def hub_killed_after_the_commit(stage: Stage) -> None:
    """The hub dies between commit and ack: everything is delivered again and stored once (I6)."""
    with line(stage.folder) as own:
        expected = {**one_settled(own), **three(own)}
        own.send()
        with crash_at("C13"):
            died(own.hub.ingest)
        own.hub.die()
        own.settle()
        require(own, expected)


def hub_store_fails_in_the_middle(stage: Stage) -> None:
    """The hub's store fails inside the transaction: no receipt may say that anything was stored (I5)."""
    with line(stage.folder) as own:
        expected = three(own)
        own.send()
        dialect = own.hub.store._dialect
        whole = dialect.insert_records

        def fail(*_arguments: object) -> None:
            dialect.insert_records = whole
            raise StoreUnavailable(why="disk full")

        dialect.insert_records = fail
        own.hub.ingest()
        own.hub.publish()
        own.hear()
        require(own, {}, finished=False)
        own.clock.advance(60.0)
        own.settle()
        require(own, expected)


# -- receipts --------------------------------------------------------------------------------------------------------


def forged_receipts(stage: Stage) -> None:
    """Receipts that nobody at the hub signed settle nothing."""
    with line(stage.folder) as own:
        expected = three(own)
        own.send()
        own.lose_queue()
        state(own, load_signer(generate()))
        own.ask()
        own.settle()
        require(own, expected)


def receipts_for_other_octets(stage: Stage) -> None:
    """A receipt of the hub that names other octets than ours settles nothing: the hub has something else (I6)."""
    with line(stage.folder) as own:
        expected = three(own)
        own.send()
        own.lose_queue()
        state(own, own.hub.still.ingest._clerk._signer, digest=bytes(32))
        own.ask()
        own.settle()
        require(own, expected)


def status_while_the_hub_is_away(stage: Stage) -> None:
    """While the hub is away the status screen counts nothing as stored and everything as waiting."""
    settings = load_text(_SETTINGS).value
    with line(stage.folder) as own:
        three(own)
        own.send()
        (shown,) = gather(settings, own.reader, None, own.clock.now()).flows
        told = (shown.captured_today, shown.stored_today, shown.waiting)
        waiting = own.unsettled() + 1  # the opening of the epoch is a message too
        if told != (3, 0, waiting):
            raise Violation([("untrue", f"status shows {told} (captured, stored, waiting)")])


# -- tools -----------------------------------------------------------------------------------------------------------

_SETTINGS = """\
version: 1
agent:
  id: 510100-line-01
hub:
  code: sc-hub
  url: amqps://mq.example/exchange
  password: secret:hub_password
connections:
  registry:
    type: sqlite
    path: /data/registry.db
send:
  people:
    message: population.person@1
    from: {connection: registry, table: person, key: [id_number], cursor: updated_at, every: 30s}
    map: {id_number: id_number, name: name}
"""


def died(act: Callable[[], None]) -> None:
    """Do something that ends in a crash."""
    try:
        act()
    except Crash:
        return
    raise AssertionError("it lived on")


def dropped(own: Line, folder: Path, **other: object) -> Source:
    """Return a source of files dropped into a folder."""
    settings = FileDropFrom.of(files=str(folder / "*.csv"), key=("id",), ready="rename", **other)
    wiring = Wiring(
        FLOW,
        settings,
        own.clock,
        own.events,
        "Asia/Shanghai",
        columns=("id", "name"),
        rejected=lambda prefix: [
            item.input for item in own.reader.items(FLOW, closed=True, limit=1000) if item.input.token.startswith(prefix)
        ],
    )
    return FileDropSource.build(wiring)


def state(own: Line, signer: Signer, *, digest: bytes = b"") -> None:
    """Put a receipt for every message into the department's queue, saying that all is stored; then let the agent take them."""
    forger = own.broker.sink("forger")
    own.broker.add_user("forger", Rights())
    forger.open()
    for tag, (message_id, _state, own_digest, _size, sequence) in enumerate(own.outbox(), 1):
        now = own.clock.now()
        said = Statement(
            message_id=message_id,
            sender=CODE,
            flow=FLOW,
            epoch=own.store.epoch,
            sequence=sequence,
            outcome=Outcome.STORED,
            stage="R3",
            digest=digest or own_digest,
            hub=HUB,
            received_at=now,
            committed_at=now,
            audit_sequence=1,
            audit_hash="",
            stored=3,
        )
        mid, body, jws = write_receipt(said, audience=CODE, signer=signer, clock=own.clock, random_bytes=bytes)
        forger.send([Parcel(tag, DELIVERY_EXCHANGE, receipt_queue(CODE), mid, RECEIPT_TYPE, "", body, {"jws": jws}, 0)])
    own.hear()
