"""The sections of agent.yaml. What a flow reads from is composed in by `agent.settings.compose`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from agent.i18n import N_
from agent.settings.base import Misfit, Raw, SettingsModel, section, setting
from agent.settings.codes import Note
from agent.settings.map_fields import FlowMap, key_misfits
from agent.settings.suggest import near
from agent.settings.types import (
    AbsolutePath,
    ConnectionName,
    Duration,
    FlowId,
    Listen,
    MessageTypeName,
    NodeCode,
    Secret,
    Size,
    Spelled,
    TimeZone,
    lasting,
    sized,
)
from agent.settings.urls import BrokerUrl, is_clear_text, url_misfits

FILE_VERSION: Final = 1


def parse_version(value: object) -> int:
    """Return the version of the file format, the only one this release reads."""
    if value == FILE_VERSION and not isinstance(value, bool):
        return FILE_VERSION
    raise Misfit("HT-C031", details={"value": value}, alternatives=(str(FILE_VERSION),)).error()


FileVersion = Annotated[int, Spelled(N_("version of the file format"), parse_version, json_types=("integer",))]


class AgentSection(SettingsModel):
    """Who this agent is and where it keeps its things."""

    id: NodeCode = setting(
        N_("node code of this agent"),
        more=N_("Assigned by the hub and permanent: it is the sender of every message and part of the name of its account."),
        examples=('"510100-bdc-01"',),
    )
    title: str = setting(
        N_("name shown on screens"),
        default="",
        more=N_("In any language."),
        examples=("成都市不动产登记中心前置机",),
        max_length=100,
    )
    timezone: TimeZone = setting(
        N_("time zone"),
        default="Asia/Shanghai",
        more=N_("Screens, schedules and source values without a zone are read in it."),
        examples=("Asia/Shanghai",),
    )
    language: Literal["zh", "en"] = setting(N_("language of logs and pages"), default="zh", examples=("zh",))
    state_dir: AbsolutePath = setting(
        N_("folder of the outbox"),
        default=Path("/var/lib/huitong"),
        more=N_("Holds what was captured and has no receipt yet. On a local disk, never on a network drive."),
        examples=("/var/lib/huitong",),
    )
    keys_dir: AbsolutePath = setting(
        N_("folder of the signing keys"),
        default=Path("/var/lib/huitong/keys"),
        more=N_(
            "One file for each key, mode 0600; the current one signs. huitong keys new creates one and shows what the hub needs."
        ),
        examples=("/var/lib/huitong/keys",),
    )
    secrets_dir: AbsolutePath = setting(
        N_("folder of the secrets"),
        default=Path("/etc/huitong/secrets"),
        more=N_("One file for each secret, mode 0600. Credentials given by systemd come first."),
        examples=("/etc/huitong/secrets",),
    )
    control_socket: AbsolutePath = setting(
        N_("socket by which the command line speaks to the running agent"),
        default=Path("/run/huitong/agent.sock"),
        examples=("/run/huitong/agent.sock",),
    )
    listen: Listen | None = setting(
        N_("address of /metrics, /healthz and /readyz"),
        default="127.0.0.1:9464",
        more=N_("Empty (~) for none. These pages carry counts, never data, but need no login: keep them on this machine."),
        examples=("127.0.0.1:9464",),
    )
    disk_low_water: Annotated[Size, sized("16MiB", "100TiB")] = setting(
        N_("free disk space below which capture pauses"),
        default=1 << 30,
        more=N_("Sending goes on, so that the outbox empties; capture resumes by itself."),
        examples=("1GiB",),
    )
    retention: Annotated[Duration, lasting("1h", "3650d")] = setting(
        N_("how long the bodies of stored messages are kept"),
        default=timedelta(days=30),
        more=N_("Counted from the receipt. Without a receipt a message is kept whatever its age."),
        examples=("30d",),
    )
    receipt_retention: Annotated[Duration, lasting("1d", "36500d")] = setting(
        N_("how long receipts and traces of stored messages are kept"),
        default=timedelta(days=1095),
        more=N_(
            "Counted from the receipt, and never shorter than the bodies are kept. Afterwards the agent has forgotten these "
            "messages; the hub keeps its side. What waits for a person stays."
        ),
        examples=("1095d",),
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        N_("how much is logged"), default="info", more=N_("Contents of records are never logged."), examples=("info",)
    )


class HubSection(SettingsModel):
    """The exchange node this agent reports to."""

    code: NodeCode = setting(
        N_("node code of the hub"), more=N_("Messages are signed for this receiver and for no other."), examples=("sc-hub",)
    )
    url: BrokerUrl = setting(
        N_("address of the message broker"),
        more=N_("amqps://HOST:PORT/VHOST. Account and password stand in fields of their own."),
        examples=("amqps://mq.hub.example.gov.cn:5671/exchange",),
    )
    user: str | None = setting(
        N_("account at the message broker"),
        default=None,
        more=N_("Default: agent. followed by the node code, as the hub creates it."),
        examples=("agent.510100-bdc-01",),
        min_length=1,
        max_length=128,
    )
    password: Secret | None = setting(
        N_("password, by the name of its secret"),
        default=None,
        more=N_("Either this or cert and key."),
        examples=("secret:hub_password",),
    )
    ca: AbsolutePath | None = setting(
        N_("certificates that may sign the broker's certificate"),
        default=None,
        more=N_("Default: those of the operating system."),
        examples=("/etc/huitong/certs/hub-ca.crt",),
    )
    cert: AbsolutePath | None = setting(N_("certificate of this agent"), default=None, examples=("/etc/huitong/certs/agent.crt",))
    key: Secret | None = setting(
        N_("private key of the certificate, by the name of its secret"), default=None, examples=("secret:hub_key",)
    )
    trust: AbsolutePath = setting(
        N_("public keys that may sign the hub's receipts"),
        default=Path("/etc/huitong/trust"),
        more=N_("A folder that huitong keys trust fills. A receipt that none of these keys signed settles nothing."),
        examples=("/etc/huitong/trust",),
    )
    receipt_within: Annotated[Duration, lasting("1s", "30d")] = setting(
        N_("time after which a missing receipt raises an alarm"),
        default=timedelta(minutes=10),
        more=N_("The hub is asked; nothing is sent again unless the hub says that it is missing."),
        examples=("10m",),
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


class DeliverySection(SettingsModel):
    """How messages are built and sent. The defaults suit nearly everybody."""

    batch_records: int = setting(
        N_("records in a message, at most"),
        default=500,
        ge=1,
        le=5000,
        more=N_("The hub takes no more than 5000."),
        examples=("500",),
    )
    batch_bytes: Annotated[Size, sized("4KiB", "8MiB")] = setting(
        N_("size of a message, about"),
        default=1 << 20,
        more=N_("A record larger than this travels alone. The hub takes no more than 8MiB."),
        examples=("1MiB",),
    )
    window: int = setting(
        N_("messages under way to the broker without its confirm, at most"), default=200, ge=1, le=2000, examples=("200",)
    )
    unsettled: int = setting(
        N_("messages confirmed by the broker without a receipt, at most"),
        default=1000,
        ge=1,
        le=1_000_000,
        more=N_("Beyond it sending waits for receipts, so that the queue at the hub stays short."),
        examples=("1000",),
    )
    compression_level: int = setting(
        N_("zstd level"), default=1, ge=1, le=9, more=N_("1 is nearly as small as 3 and faster."), examples=("1",)
    )


class FlowSection(SettingsModel):
    """One flow up: one kind of record from one source, as one type of message."""

    title: str = setting(N_("name shown on screens"), default="", examples=("不动产权属信息上报",), max_length=100)
    message: MessageTypeName = setting(
        N_("message type and version"), more=N_("TYPE@VERSION, as the hub knows it."), examples=("realestate.ownership@2",)
    )
    from_: Any = setting(
        N_("where the records come from"),
        alias="from",
        more=N_("A table or files; each has fields of its own."),
        examples=("{connection: registry, table: public.qszt, key: [bdcdyh], cursor: updated_at, every: 30s}",),
    )
    map: FlowMap = setting(
        N_("left the field of the message, right the column of the source"),
        more=N_("same-names takes over every column of the source under its own name."),
        examples=("same-names",),
    )

    @classmethod
    def cross_check(cls, raw: Raw) -> Iterator[Misfit]:
        """Key columns must be mapped, as themselves."""
        yield from key_misfits(raw)

    @property
    def message_code(self) -> str:
        """The message type without its version."""
        return self.message.partition("@")[0]

    @property
    def message_version(self) -> int:
        """The version of the message type."""
        return int(self.message.partition("@")[2])


UNNAMED: Final = "change-me"
"""What a starter writes where only people know the name."""


class AgentFile(SettingsModel):
    """agent.yaml and the files of conf.d/."""

    shared: ClassVar[tuple[str, ...]] = ("connections", "send")

    version: FileVersion = setting(N_("version of the file format"), examples=("1",))
    agent: AgentSection = setting(N_("this agent"))
    hub: HubSection = setting(N_("the hub"))
    connections: Mapping[ConnectionName, Any] = setting(N_("connections to sources, by name"), default={})
    send: Mapping[FlowId, FlowSection] = setting(
        N_("flows up, by their permanent id"), default={}, more=N_("One flow may have a file of its own in conf.d/.")
    )
    delivery: DeliverySection = setting(N_("how messages are built and sent"), default=DeliverySection())
    message_types: AbsolutePath | None = setting(
        N_("folder with more definitions of message types"),
        default=None,
        more=N_("As the hub hands them out. They come before those that are part of this release."),
        examples=("/etc/huitong/message-types",),
    )

    @property
    def broker_user(self) -> str:
        """The account at the message broker."""
        return self.hub.user or f"agent.{self.agent.id}"

    @classmethod
    def cross_check(cls, raw: Raw) -> Iterator[Misfit]:
        """Names in one section must exist in the other, and no two flows may take each other's files."""
        if "receive" in raw:
            yield Misfit("HT-C029", at=("receive",), on_key=True)
        if not section(raw.get("send")) and "receive" not in raw:
            yield Misfit("HT-C037", at=("send",), on_key=True)
        if is_clear_text(section(raw.get("hub")).get("url")):
            yield Misfit("HT-C036", at=("hub", "url"))
        for at in (("agent", "id"), ("hub", "code")):
            if str(section(raw.get(at[0])).get(at[1])).endswith(UNNAMED):
                yield Misfit("HT-C039", at=at)
        yield from _connection_misfits(raw)
        yield from _shared_files(raw)


def _connection_misfits(raw: Raw) -> Iterator[Misfit]:
    known = section(raw.get("connections"))
    used: set[object] = set()
    for flow, name in _named_in_flows(raw, "connection"):
        used.add(name)
        if name not in known:
            hints = (Note(N_("defined are: {names}"), {"names": ", ".join(known)}),) if known else ()
            yield Misfit(
                "HT-C024",
                at=("send", flow, "from", "connection"),
                details={"name": name},
                alternatives=near(name, known),
                hints=hints,
            )
    for name in known:
        if name not in used:
            yield Misfit("HT-C035", at=("connections", name), on_key=True, details={"name": name})


def _shared_files(raw: Raw) -> Iterator[Misfit]:
    first: dict[str, str] = {}
    for flow, files in _named_in_flows(raw, "files"):
        if files in first:
            yield Misfit("HT-C034", at=("send", flow, "from", "files"), details={"other": first[files], "what": files})
        first.setdefault(files, flow)


def _named_in_flows(raw: Raw, field: str) -> Iterator[tuple[str, str]]:
    for flow, body in section(raw.get("send")).items():
        name = section(section(body).get("from")).get(field)
        if isinstance(name, str):
            yield flow, name
