"""What `huitong doctor` and `huitong validate --connect` look at: keys, trust, secrets, broker, store, disk, clock, sources.

Everything here only looks. A finding has a stable subject and, when it is not well, what to do about it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from agent.adapters.amqp.sink import AmqpSink
from agent.adapters.clock import SystemClock
from agent.adapters.store import engine
from agent.app.access import GLANCE_SECS, ask_running
from agent.app.certificates import expiries
from agent.app.flows import plan_flows
from agent.app.parts import broker_of, keys_of, trust_of
from agent.app.places import open_reader, secret_names, secrets_of, store_path
from agent.app.preview import closed_source
from agent.errors import HuitongError, NotConnected, NotFound, SecretMissing
from agent.events import Events
from agent.i18n import N_
from agent.model import Finding, State
from agent.queries import MessageQuery
from agent.settings.agent_file import AgentFile
from agent.wire.signature import KeyState

CLOCKS_APART: Final = timedelta(minutes=1)
CERTIFICATE_DAYS: Final = 60
_UNITS: Final = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1))


def check_connections(settings: AgentFile, environment: Mapping[str, str]) -> Sequence[Finding]:
    """Try everything the configuration names, read-only: secrets, keys, broker, and each source as its flow would read it."""
    return [
        *_check_secrets(settings, environment),
        *_check_keys(settings),
        *_check_broker(settings, environment),
        *_check_sources(settings, environment),
    ]


def check_all(settings: AgentFile, environment: Mapping[str, str]) -> Sequence[Finding]:
    """Look at everything: also at the store, the disk under it, the clock and the certificates."""
    return [
        *_check_agent(settings),
        *_check_store(settings),
        *_check_disk(settings),
        *_check_clock(settings),
        *_check_certificates(settings),
        *check_connections(settings, environment),
    ]


# -- who we are, whom we believe -------------------------------------------------------------------------------------


def _check_secrets(settings: AgentFile, environment: Mapping[str, str]) -> Iterator[Finding]:
    store = secrets_of(settings, environment)
    for name in secret_names(settings):
        try:
            store.get(name)
        except (SecretMissing, HuitongError) as error:
            yield _failed("secrets", error)


def _check_keys(settings: AgentFile) -> Iterator[Finding]:
    try:
        signer = keys_of(settings).signer()
        yield Finding("keys", ok=True, text=N_("messages are signed with key {kid}"), details={"kid": signer.kid})
    except HuitongError as error:
        yield _failed("keys", error)
    try:
        keys = trust_of(settings, SystemClock(), Events()).keys()
    except HuitongError as error:
        yield _failed("trust", error)
        return
    good = sum(key.state is not KeyState.REVOKED for key in keys)
    hint = N_("ask the hub for its file, then: huitong keys trust FILE")
    yield Finding("trust", ok=good > 0, text=N_("trusted: {count}"), hint=hint, details={"count": good})


def _check_certificates(settings: AgentFile) -> Iterator[Finding]:
    now = SystemClock().now()
    for name, expiry in expiries(settings):
        days = (expiry - now) // timedelta(days=1)
        hint = N_("ask the hub for a new certificate and put it in the same place; no restart is needed")
        details = {"name": name, "days": days}
        if days < 0:
            yield Finding("certificates", ok=False, text=N_("certificate {name} has expired"), hint=hint, details=details)
        else:
            text = N_("certificate {name} is valid for {days} days")
            yield Finding("certificates", ok=days >= CERTIFICATE_DAYS, warning=True, text=text, hint=hint, details=details)


def _check_broker(settings: AgentFile, environment: Mapping[str, str]) -> Iterator[Finding]:
    try:
        address = broker_of(settings, secrets_of(settings, environment))
        sink = AmqpSink(address, user_id=settings.broker_user, app_id="huitong")
        try:
            sink.open()
        finally:
            sink.close()
        yield Finding("broker", ok=True, text=N_("the message broker takes our login"))
    except SecretMissing:
        return  # said once, under secrets
    except NotConnected as error:
        hint = N_("check that it runs, and that name, port, certificate and firewall are right; captured data waits meanwhile")
        yield Finding("broker", ok=False, text=error.text, hint=hint, details=error.details)
    except HuitongError as error:
        yield _failed("broker", error)


# -- this machine ----------------------------------------------------------------------------------------------------


def _check_agent(settings: AgentFile) -> Iterator[Finding]:
    try:
        running = ask_running(settings, "overview", within_secs=GLANCE_SECS) is not None
    except HuitongError as error:
        yield _failed("agent", error)
        return
    text = N_("the agent runs and answers") if running else N_("the agent is not running")
    hint = N_("start it: systemctl start huitong-agent; what stopped it is in its log")
    yield Finding("agent", ok=running, warning=True, text=text, hint=hint)


def _check_store(settings: AgentFile) -> Iterator[Finding]:
    version = engine.engine_version()
    shown = ".".join(map(str, version))
    warning = engine.warning_for(version)
    yield Finding("store", ok=not warning, warning=True, text=warning or N_("SQLite {version}"), details={"version": shown})
    try:
        reader = open_reader(settings)
    except NotFound:
        yield Finding("store", ok=True, text=N_("there is no store yet; the first run makes it"))
        return
    except HuitongError as error:
        yield _failed("store", error)
        return
    try:
        owner, _epoch = reader.identity()
        damage = reader.check()
    except HuitongError as error:
        yield _failed("store", error)
        return
    finally:
        reader.close()
    if owner not in ("", settings.agent.id):
        hint = N_("set agent.id back, or give this agent a state folder of its own")
        yield Finding("store", ok=False, text=N_("this store belongs to agent {owner}"), hint=hint, details={"owner": owner})
    text = N_("the store is damaged: {why}")
    hint = N_("stop the agent, put the last good copy back, then: huitong restore --why TEXT")
    if damage:
        yield Finding("store", ok=False, text=text, hint=hint, details={"why": damage[0]})
    else:
        yield Finding("store", ok=True, text=N_("{path} is sound"), details={"path": store_path(settings)})


def _check_disk(settings: AgentFile) -> Iterator[Finding]:
    folder = next(path for path in (settings.agent.state_dir, *settings.agent.state_dir.parents) if path.exists())
    found = os.statvfs(folder)
    free, mark = found.f_bavail * found.f_frsize, settings.agent.disk_low_water
    details = {"free": _size(free), "mark": _size(mark), "path": folder}
    if free < mark:
        text = N_("{free} free on {path}: below {mark} capture pauses")
        yield Finding("disk", ok=False, text=text, hint=N_("free some space; capture resumes by itself"), details=details)
        return
    text, hint = N_("{free} free on {path}; below {mark} capture pauses"), N_("free some space, or move agent.state_dir")
    yield Finding("disk", ok=free >= 2 * mark, warning=True, text=text, hint=hint, details=details)


def _size(octets: int) -> str:
    """Return a size that people read, with one digit behind the point."""
    unit, size = next((unit, size) for unit, size in _UNITS if octets >= size or size == 1)
    return f"{octets / size:.1f} {unit}" if size > 1 else f"{octets} {unit}"


def _check_clock(settings: AgentFile) -> Iterator[Finding]:
    """Compare our clock with what the store and the hub wrote down: order never depends on it, but people do."""
    now = SystemClock().now()
    try:
        reader = open_reader(settings)
    except HuitongError:
        return
    try:
        last = reader.last_receipt()
        stored = reader.find(MessageQuery(state=State.STORED, limit=1))
        trace = reader.trace(stored[0].message_id) if stored else None
    except HuitongError:
        return
    finally:
        reader.close()
    hint = N_("let this machine follow a time server (chrony)")
    if last is not None and last - now > CLOCKS_APART:
        details = {"secs": _secs(last - now)}
        yield Finding("clock", ok=False, text=N_("our clock went back by {secs} seconds"), hint=hint, details=details)
        return
    receipt = trace.receipts[-1] if trace is not None and trace.receipts else None
    ahead = _ahead(receipt.committed_at, receipt.settled_at) if receipt is not None else 0
    if ahead:
        text, details = N_("the clock of the hub is {secs} seconds ahead of ours"), {"secs": ahead}
        yield Finding("clock", ok=False, warning=True, text=text, hint=hint, details=details)
    else:
        yield Finding("clock", ok=True, text=N_("nothing speaks against our clock"))


def _ahead(committed: datetime, settled: datetime) -> int:
    """Return by how many seconds a receipt was written after it arrived, 0 when that is little."""
    return _secs(committed - settled) if committed - settled > CLOCKS_APART else 0


def _secs(span: timedelta) -> int:
    return int(span.total_seconds())


# -- sources ---------------------------------------------------------------------------------------------------------


def _check_sources(settings: AgentFile, environment: Mapping[str, str]) -> Iterator[Finding]:
    for flow, plan in plan_flows(settings).items():
        try:
            with closed_source(plan, settings, environment) as source:
                yield from (_named(flow, finding) for finding in source.check())
        except SecretMissing:
            continue  # said once, under secrets
        except HuitongError as error:
            yield _failed(flow, error)


def _named(flow: str, finding: Finding) -> Finding:
    details = {**finding.details, "of": finding.subject}
    return Finding(flow, finding.ok, finding.text, finding.hint, details, finding.warning)


def _failed(subject: str, error: HuitongError) -> Finding:
    return Finding(subject, ok=False, text=error.text, hint=error.hint, details=error.details)
