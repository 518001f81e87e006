"""Publishing: how many confirmed messages a second, and how long a single one takes, beside plain pika.

Both publish the same bodies to a quorum queue on a private RabbitMQ with the same window: `sink` is our AmqpSink, driven by one
thread through `send` and `poll`; `pika` is a bare SelectConnection that refills its window in the confirm callback, without
returns, errors or reconnecting. Latency is from the hand-over by another thread to the confirm, at 200 messages a second.

    python -m bench.publish [--messages 10000] [--body-bytes 20000] [--window 200] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue

import pika
from pika.adapters.select_connection import SelectConnection

from agent.adapters.amqp.address import BrokerAddress
from agent.adapters.amqp.admin import AmqpAdmin
from agent.adapters.amqp.sink import AmqpSink
from agent.ports import Parcel
from agent.testing.nodes.rabbitmq import RabbitmqNode
from agent.wire.topology import ingress_exchange

NODE = "bench"
ROUNDS = 6
RATE = 200  # single messages a second, for latency


def parcels(count: int, size: int) -> list[Parcel]:
    body = os.urandom(size)
    headers = {"jws": "e30" * 60 + ".." + "x" * 86}
    exchange = ingress_exchange(NODE)
    return [
        Parcel(n, exchange, "", f"0192{n:028x}", "cn.huitong.records.v1", "zstd", body, headers, 1_700_000_000)
        for n in range(1, count + 1)
    ]


# -- ours ------------------------------------------------------------------------------------------------------------


def sink_throughput(address: BrokerAddress, work: Sequence[Parcel], window: int) -> float:
    """Return seconds for all, sent and confirmed."""
    sink = AmqpSink(address, user_id=address.user, app_id="huitong/bench")
    sink.open()
    started = time.perf_counter()
    sent = confirmed = 0
    while confirmed < len(work):
        room = window - (sent - confirmed)
        if room and sent < len(work):
            sink.send(work[sent : sent + room])
            sent += len(work[sent : sent + room])
        for published in sink.poll(1.0):
            assert published.error is None, published.error
            confirmed += 1
    took = time.perf_counter() - started
    sink.close()
    return took


def sink_latency(address: BrokerAddress, work: Sequence[Parcel]) -> list[float]:
    """Return seconds from hand-over to confirm, for each."""
    sink = AmqpSink(address, user_id=address.user, app_id="huitong/bench")
    sink.open()
    handed: SimpleQueue[tuple[Parcel, float]] = SimpleQueue()
    at: dict[int, float] = {}
    took: list[float] = []

    def hand_over(parcel: Parcel) -> None:
        handed.put((parcel, time.perf_counter()))
        sink.wake()

    feeder = threading.Thread(target=pace, args=(work, hand_over))
    feeder.start()
    while len(took) < len(work):
        while not handed.empty():
            parcel, moment = handed.get()
            at[parcel.tag] = moment
            sink.send([parcel])
        took.extend(time.perf_counter() - at.pop(published.tag) for published in sink.poll(1.0))
    feeder.join()
    sink.close()
    return took


# -- plain pika ------------------------------------------------------------------------------------------------------


class Plain:
    """A bare publisher: `on_ready` runs when the channel confirms, `on_confirm(first, last)` for every confirm."""

    def __init__(self, address: BrokerAddress, on_ready: Callable[[Plain], None], on_confirm: Callable[[int, int], None]) -> None:
        self._next = self._lowest = 1
        self._on_confirm = on_confirm
        self._on_ready = on_ready
        self.connection = SelectConnection(address.parameters()[0], on_open_callback=self._open, on_close_callback=self._closed)
        self.properties = {
            "content_type": "application/cloudevents+json; charset=utf-8",
            "delivery_mode": 2,
            "user_id": address.user,
            "app_id": "huitong/bench",
        }

    def _open(self, connection: SelectConnection) -> None:
        self.channel = connection.channel(on_open_callback=lambda _channel: self._confirm_mode())

    def _confirm_mode(self) -> None:
        self.channel.confirm_delivery(self._confirmed, callback=lambda _frame: self._on_ready(self))

    def _closed(self, connection: SelectConnection, _error: Exception) -> None:
        connection.ioloop.stop()

    def _confirmed(self, frame: object) -> None:
        tag = frame.method.delivery_tag
        first = self._lowest if frame.method.multiple else tag
        self._lowest = max(self._lowest, tag + 1) if frame.method.multiple or tag == self._lowest else self._lowest
        self._on_confirm(first, tag)

    def publish(self, parcel: Parcel) -> None:
        """Publish one, as ours does."""
        properties = pika.BasicProperties(
            content_encoding=parcel.encoding,
            headers=dict(parcel.headers),
            message_id=parcel.message_id,
            timestamp=parcel.timestamp,
            type=parcel.type,
            **self.properties,
        )
        self.channel.basic_publish(parcel.exchange, parcel.routing_key, parcel.body, properties, mandatory=True)


def pika_throughput(address: BrokerAddress, work: Sequence[Parcel], window: int) -> float:
    """Return seconds for all, sent and confirmed."""
    started = ended = 0.0
    waiting: set[int] = set()
    rest = iter(work)

    def refill(plain: Plain) -> None:
        while len(waiting) < window and (parcel := next(rest, None)) is not None:
            waiting.add(parcel.tag)
            plain.publish(parcel)

    def ready(plain: Plain) -> None:
        nonlocal started
        started = time.perf_counter()
        refill(plain)

    def confirmed(first: int, last: int) -> None:
        nonlocal ended
        waiting.difference_update(range(first, last + 1))
        refill(plain)
        if not waiting:
            ended = time.perf_counter()
            plain.connection.close()

    plain = Plain(address, ready, confirmed)
    plain.connection.ioloop.start()
    return ended - started


def pika_latency(address: BrokerAddress, work: Sequence[Parcel]) -> list[float]:
    """Return seconds from hand-over to confirm, for each."""
    took: list[float] = []
    at: dict[int, float] = {}
    opened = threading.Event()

    def confirmed(first: int, last: int) -> None:
        took.extend(time.perf_counter() - at.pop(tag) for tag in range(first, last + 1) if tag in at)
        if len(took) == len(work):
            plain.connection.close()

    def hand_over(parcel: Parcel) -> None:
        at[parcel.tag] = time.perf_counter()
        plain.connection.ioloop.add_callback_threadsafe(lambda: plain.publish(parcel))

    plain = Plain(address, lambda _plain: opened.set(), confirmed)
    runner = threading.Thread(target=plain.connection.ioloop.start)
    runner.start()
    opened.wait(10)
    pace(work, hand_over)
    runner.join()
    return took


# -- both ------------------------------------------------------------------------------------------------------------


def pace(work: Sequence[Parcel], hand_over: Callable[[Parcel], None]) -> None:
    """Hand over one after another at the rate."""
    never = threading.Event()
    started = time.perf_counter()
    for number, parcel in enumerate(work):
        never.wait(max(0.0, started + number / RATE - time.perf_counter()))
        hand_over(parcel)


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--body-bytes", type=int, default=20_000)
    parser.add_argument("--window", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {"sink": {}, "pika": {}}
    with tempfile.TemporaryDirectory() as directory, RabbitmqNode(Path(directory)) as node:
        address = BrokerAddress.parse(node.space("/").url)
        work = parcels(options.messages, options.body_bytes)

        def fresh() -> None:
            with AmqpAdmin(address) as admin:
                admin.dismiss(NODE)
                admin.admit(NODE, inbound_bound=10_000_000)

        fresh()
        sink_throughput(address, work[:1000], options.window)  # warm up
        rates: dict[str, list[float]] = {"sink": [], "pika": []}
        cpu: dict[str, list[float]] = {"sink": [], "pika": []}
        pair = [("sink", sink_throughput), ("pika", pika_throughput)]
        for turn in range(ROUNDS):
            for name, run in pair if turn % 2 else reversed(pair):  # who goes second finds a busier broker
                fresh()
                before = time.process_time()
                rates[name].append(len(work) / run(address, work, options.window))
                cpu[name].append((time.process_time() - before) / len(work))
        for name, measure in (("sink", sink_latency), ("pika", pika_latency)):
            fresh()
            took = measure(address, work[: RATE * 5])
            results[name] = {
                "messages_per_sec": round(statistics.median(rates[name])),
                "cpu_us_per_message": round(min(cpu[name]) * 1e6),
                "latency_p50_ms": round(percentile(took, 0.5) * 1000, 2),
                "latency_p99_ms": round(percentile(took, 0.99) * 1000, 2),
            }
    print(f"{options.messages} messages of {options.body_bytes} bytes, window {options.window}")
    print(f"rate: median of {ROUNDS}, CPU: best of {ROUNDS}")
    print(f"{'':6}{'msg/s':>9}{'CPU µs':>9}{'p50 ms':>9}{'p99 ms':>9}")
    for name, row in results.items():
        print(f"{name:6}" + "".join(f"{value:>9}" for value in row.values()))
    if options.json:
        options.json.write_text(
            json.dumps({"options": vars(options) | {"json": str(options.json)}, "results": results}, indent=1)
        )


if __name__ == "__main__":
    sys.exit(main())
