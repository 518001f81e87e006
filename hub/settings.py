"""The sections of hub.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from agent.i18n import N_
from agent.settings.agent_file import FileVersion
from agent.settings.base import Misfit, Raw, SettingsModel, section, setting
from agent.settings.choice import OneOf
from agent.settings.codes import Note
from agent.settings.suggest import near
from agent.settings.types import (
    AbsolutePath,
    Duration,
    Host,
    Listen,
    MessageTypeName,
    NodeCode,
    Secret,
    Size,
    lasting,
    named_type,
    shaped,
    sized,
)
from agent.settings.urls import BrokerUrl, is_clear_text, url_misfits

DEFAULT_FILE: Final = Path("/etc/huitong/hub.yaml")

ManagementUrl = Annotated[
    str, shaped(N_("address of a management interface"), r"https?://[^\s/@?#]+", N_("for example http://127.0.0.1:15672"))
]


class HubSection(SettingsModel):
    """Who this exchange node is and where it keeps its things."""

    code: NodeCode = setting(
        N_("node code of this hub"),
        more=N_("Permanent: departments sign their messages for this receiver, and receipts are issued in this name."),
        examples=("sc-hub",),
    )
    title: str = setting(N_("name shown on screens"), default="", examples=("四川省交换节点",), max_length=100)
    language: Literal["zh", "en"] = setting(N_("language of logs and pages"), default="zh", examples=("zh",))
    keys_dir: AbsolutePath = setting(
        N_("folder of the hub's own signing keys"),
        default=Path("/var/lib/huitong-hub/keys"),
        more=N_("One file for each key, mode 0600. Receipts are signed with the current one, the others are announced."),
        examples=("/var/lib/huitong-hub/keys",),
    )
    secrets_dir: AbsolutePath = setting(
        N_("folder of the secrets"),
        default=Path("/etc/huitong/secrets"),
        more=N_("One file for each secret, mode 0600. Credentials given by systemd come first."),
        examples=("/etc/huitong/secrets",),
    )
    listen: Listen | None = setting(
        N_("address of /metrics, /healthz and /readyz"),
        default="127.0.0.1:9465",
        more=N_("Empty (~) for none. These pages carry counts, never data, but need no login: keep them on this machine."),
        examples=("127.0.0.1:9465",),
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        N_("how much is logged"), default="info", more=N_("Contents of records are never logged."), examples=("info",)
    )


class SqliteStoreSection(SettingsModel):
    """A store in one file: for trials and small hubs, one process."""

    type: Literal["sqlite"] = setting(N_("kind of store"), examples=("sqlite",))
    path: AbsolutePath = setting(
        N_("file of the store"), more=N_("On a local disk, never on a network drive."), examples=("/var/lib/huitong-hub/hub.db",)
    )


class PostgresStoreSection(SettingsModel):
    """A store in PostgreSQL 13 or later; any number of hub processes may share it."""

    type: Literal["postgres"] = setting(N_("kind of store"), examples=("postgres",))
    host: Host = setting(N_("host name, address or socket folder"), examples=("127.0.0.1",))
    port: int = setting(N_("port"), default=5432, ge=1, le=65535, examples=("5432",))
    database: str = setting(N_("name of the database"), examples=("huitong",), min_length=1, max_length=63)
    user: str = setting(N_("account; owner of the database"), examples=("huitong_hub",), min_length=1, max_length=63)
    password: Secret | None = setting(N_("password, by the name of its secret"), default=None, examples=("secret:hub_database",))
    tls: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = setting(
        N_("encryption of the connection"), default="prefer", examples=("verify-full",)
    )
    ca: AbsolutePath | None = setting(
        N_("certificates that may sign the server's certificate"), default=None, examples=("/etc/huitong/certs/db-ca.crt",)
    )


def _pick_store(value: object) -> str:
    kinds = ("sqlite", "postgres")
    if isinstance(value, SettingsModel):
        return str(getattr(value, "type"))  # noqa: B009 - both forms have it, their base does not
    if not isinstance(value, Mapping):
        expected = Note(N_("a section with fields"))
        raise Misfit("HT-C013", details={"expected": expected, "actual": named_type(value)}).error()
    hint = Note(N_("possible values: {values}"), {"values": ", ".join(kinds)})
    kind = value.get("type")
    if kind is None:
        raise Misfit("HT-C011", on_key=True, details={"name": "type"}, hints=(hint,)).error()
    if kind not in kinds:
        alternatives = near(str(kind), kinds)
        raise Misfit("HT-C014", at=("type",), details={"value": kind}, alternatives=alternatives, hints=(hint,)).error()
    return str(kind)


StoreSection = Annotated[
    SqliteStoreSection | PostgresStoreSection,
    OneOf({"sqlite": SqliteStoreSection, "postgres": PostgresStoreSection}, _pick_store),
]


class ManagementSection(SettingsModel):
    """RabbitMQ's management interface; admission creates users and rights through it."""

    url: ManagementUrl = setting(N_("address"), examples=("http://127.0.0.1:15672",))
    user: str = setting(N_("account with the tag administrator"), examples=("huitong-admin",), min_length=1)
    password: Secret = setting(N_("password, by the name of its secret"), examples=("secret:broker_admin",))
    ca: AbsolutePath | None = setting(
        N_("certificates that may sign the broker's certificate"), default=None, examples=("/etc/huitong/certs/hub-ca.crt",)
    )

    @classmethod
    def cross_check(cls, raw: Raw) -> Iterator[Misfit]:
        """Keep an administrator's password off the network in clear text."""
        parts = urlsplit(str(raw.get("url", "")))
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            why = Note(N_("an administrator's password would travel in clear text; write https://"))
            yield Misfit("HT-C038", at=("url",), details={"why": why})


class BrokerSection(SettingsModel):
    """The RabbitMQ broker of this hub."""

    url: BrokerUrl = setting(
        N_("address of the message broker"),
        more=N_("amqps://HOST:PORT/VHOST. Account and password stand in fields of their own."),
        examples=("amqp://127.0.0.1:5672/exchange",),
    )
    user: str = setting(N_("account of the hub"), default="hub", examples=("hub",), min_length=1, max_length=128)
    password: Secret | None = setting(
        N_("password, by the name of its secret"),
        default=None,
        more=N_("Either this or cert and key."),
        examples=("secret:hub_broker",),
    )
    ca: AbsolutePath | None = setting(
        N_("certificates that may sign the broker's certificate"), default=None, examples=("/etc/huitong/certs/hub-ca.crt",)
    )
    cert: AbsolutePath | None = setting(N_("certificate of the hub"), default=None, examples=("/etc/huitong/certs/hub.crt",))
    key: AbsolutePath | None = setting(
        N_("file of the certificate's private key"), default=None, examples=("/etc/huitong/certs/hub.key",)
    )
    management: ManagementSection | None = setting(
        N_("management interface"),
        default=None,
        more=N_("Without it huitong hub admit prints the commands for the broker's administrator."),
    )

    @classmethod
    def cross_check(cls, raw: Raw) -> Iterator[Misfit]:
        """Exactly one way to log in, complete."""
        pair = {name: raw.get(name) is not None for name in ("cert", "key")}
        if pair["cert"] != pair["key"]:
            name, other = ("cert", "key") if pair["cert"] else ("key", "cert")
            yield Misfit("HT-C032", at=(name,), on_key=True, details={"name": name, "other": other})
        if raw.get("password") is not None and any(pair.values()):
            yield Misfit("HT-C033", at=("password",), on_key=True, details={"name": "password", "other": "cert"})
        if raw.get("password") is None and not any(pair.values()):
            yield Misfit("HT-C023", on_key=True, details={"names": "password, cert + key"})
        yield from url_misfits(raw)


class IngestSection(SettingsModel):
    """What the hub reads and how it groups it. The defaults suit nearly everybody."""

    body: Annotated[Size, sized("64KiB", "64MiB")] = setting(
        N_("size of a message body, at most"),
        default=8 << 20,
        more=N_("Told to every agent when it connects."),
        examples=("8MiB",),
    )
    decompressed: Annotated[Size, sized("64KiB", "512MiB")] = setting(
        N_("size of a message once decompressed, at most"), default=64 << 20, examples=("64MiB",)
    )
    records: int = setting(N_("records in a message, at most"), default=5000, ge=1, le=100_000, examples=("5000",))
    prefetch: int = setting(
        N_("messages taken from a department's queue ahead of their commit"), default=64, ge=1, le=2000, examples=("64",)
    )
    group: int = setting(
        N_("messages in one transaction, at most"),
        default=16,
        ge=1,
        le=256,
        more=N_("Only what waits already is grouped, so that low load is not delayed."),
        examples=("16",),
    )
    refusals_per_minute: int = setting(
        N_("refusals a department is told of in a minute, for each reason"), default=60, ge=1, le=10_000, examples=("60",)
    )
    check: tuple[MessageTypeName, ...] = setting(
        N_("message types whose records the hub checks as well"),
        default=(),
        more=N_("Agents check before they send; a record that fails here is refused alone, its neighbours are stored."),
        examples=("[realestate.ownership@2]",),
    )
    lease: Annotated[Duration, lasting("3s", "5m")] = setting(
        N_("time after which the departments of a lost hub process go to another one"),
        default=timedelta(seconds=15),
        examples=("15s",),
    )
    gap_alarm: Annotated[Duration, lasting("10s", "7d")] = setting(
        N_("time after which a gap in a flow's sequences raises an alarm"), default=timedelta(minutes=10), examples=("10m",)
    )


class RetentionSection(SettingsModel):
    """How long things are kept. Records, message ids, receipts and the audit chain are kept for ever."""

    bodies: Annotated[Duration, lasting("1h", "3650d")] = setting(
        N_("signed bodies of stored messages"),
        default=timedelta(days=180),
        more=N_("The evidence behind a receipt; the records themselves stay."),
        examples=("180d",),
    )
    answers: Annotated[Duration, lasting("1h", "3650d")] = setting(
        N_("answers and refusals that were sent"), default=timedelta(days=30), examples=("30d",)
    )
    quarantine: Annotated[Duration, lasting("1h", "3650d")] = setting(
        N_("octets of refused messages"), default=timedelta(days=180), examples=("180d",)
    )


class HubFile(SettingsModel):
    """hub.yaml."""

    version: FileVersion = setting(N_("version of the file format"), examples=("1",))
    hub: HubSection = setting(N_("this hub"))
    store: StoreSection = setting(
        N_("where messages and records are stored"), examples=("{type: sqlite, path: /var/lib/huitong-hub/hub.db}",)
    )
    broker: BrokerSection = setting(N_("the message broker"))
    ingest: IngestSection = setting(N_("how messages are taken in"), default=IngestSection())
    retention: RetentionSection = setting(N_("how long things are kept"), default=RetentionSection())
    message_types: AbsolutePath | None = setting(
        N_("folder with more definitions of message types"),
        default=None,
        more=N_("They come before those that are part of this release."),
        examples=("/etc/huitong/message-types",),
    )

    @classmethod
    def cross_check(cls, raw: Raw) -> Iterator[Misfit]:
        """Warn of what is not encrypted."""
        if is_clear_text(section(raw.get("broker")).get("url")):
            yield Misfit("HT-C036", at=("broker", "url"))
