"""Every slip we know of, each answered with its code and its exact place. The place is marked ⟦so⟧ in the text."""

from __future__ import annotations

import pytest

from tests.unit.settings.kit import (
    AGENT,
    CONNECTION,
    DEED_FLOW,
    DEED_MAP,
    PERSON_FLOW,
    PERSON_MAP,
    TABLE_FROM,
    problems_of,
    unmark,
)

REST = CONNECTION + PERSON_FLOW


def agent(line: str) -> str:
    return AGENT.replace("  id: demo-dept\n", f"  id: demo-dept\n  {line}\n") + REST


def hub(line: str) -> str:
    return AGENT + f"  {line}\n" + REST


def connection(body: str) -> str:
    return AGENT + f"connections:\n  registry: {body}\n" + PERSON_FLOW


def server(field: str) -> str:
    return connection(f"{{type: postgres, host: db, database: d, user: u, {field}}}")


def table(body: str) -> str:
    return AGENT + CONNECTION + f"send:\n  people:\n    message: population.person@1\n    from: {body}\n{PERSON_MAP}"


def table_with(field: str) -> str:
    return table(f"{{connection: registry, table: person, key: [id_number], cursor: u, every: 30s, {field}}}")


def files(body: str) -> str:
    return AGENT + f"send:\n  deeds:\n    message: tax.deed@1\n    from: {body}\n{DEED_MAP}"


def files_with(field: str) -> str:
    return files(f"{{files: /data/drop/*.csv, key: [完税凭证号], {field}}}")


def mapped(body: str) -> str:
    return AGENT + CONNECTION + f"send:\n  people:\n    message: population.person@1\n{TABLE_FROM}    map: {body}\n"


def field_of(body: str) -> str:
    return mapped(f"{{id_number: id_number, name: name, born_on: {body}}}")


SYNTAX = {
    "tab": ("HT-C006", "version: 1\nagent:\n⟦\tid: demo-dept\n"),
    "tab in a list": ("HT-C006", "a:\n  - x\n⟦\t- y\n"),
    "dedent between levels": ("HT-C005", "agent:\n    id: x\n  ⟦title: y\n"),
    "deeper after a value": ("HT-C005", "agent:\n  id: x\n    title⟦: y\n"),
    "no space after a colon": ("HT-C005", "version⟦:1\nagent:\n  id: x\n"),
    "no space after a colon in the middle": ("HT-C005", "version: 1\nagent⟦:x\nhub: y\n"),
    "full-width colon first": ("HT-C005", "version⟦：1\nagent: x\n"),
    "full-width colon later": ("HT-C005", "version: 1\nagent⟦：x\nhub: y\n"),
    "full-width comma": ("HT-C005", "a: {x: 1⟦，y: 2}\n"),
    "second colon": ("HT-C005", "title: a⟦: b\n"),
    "line without a colon": ("HT-C005", "version: 1\n⟦agent\nhub: x\n"),
    "open bracket": ("HT-C005", "key: ⟦[a, b\nevery: 30s\n"),
    "open brace": ("HT-C005", "from: ⟦{files: x\nmap: y\n"),
    "open brace at the end": ("HT-C005", "from: ⟦{files: x"),
    "missing comma": ("HT-C005", "from: ⟦{files: 'x' ready: y}\n"),
    "stray bracket": ("HT-C005", "key: ⟦]\n"),
    "open double quote": ("HT-C005", 'title: ⟦"abc\nid: x\n'),
    "open single quote": ("HT-C005", "title: ⟦'abc\nid: x\n"),
    "open quote that a later one ends": ("HT-C005", 'title: ⟦"abc\nid: x\nstatus: "1"\n'),
    "full-width space as indentation": ("HT-C005", "agent:\n  id: x\n⟦\u3000 title: y\n  language: zh\n"),
    "quote in quotes": ("HT-C005", "title: 'it'⟦s'\n"),
    "backslash in double quotes": ("HT-C005", 'path: "C:\\⟦data"\n'),
    "character beyond Unicode": ("HT-C005", 'title: "\\U⟦FFFFFFFF"\n'),
    "at sign": ("HT-C005", "title: ⟦@x\n"),
    "percent sign": ("HT-C005", "title: ⟦%x\n"),
    "back tick": ("HT-C005", "title: ⟦`x`\n"),
    "control character": ("HT-C005", "version: 1\ntitle: a⟦\x07b\n"),
    "unfinished directive": ("HT-C005", "⟦%YAML 3.0\n---\na: 1\n"),
    "sequence in a mapping": ("HT-C005", "a: 1\n⟦- b\n"),
}

NODES = {
    "half a character": ("HT-C005", agent('title: ⟦"\\ud800"⟧')),
    "anchor": ("HT-C007", agent("title: ⟦&t 名称⟧")),
    "alias": ("HT-C007", agent("title: ⟦*t⟧")),
    "tag": ("HT-C007", agent("title: ⟦!!str 名称⟧")),
    "binary tag": ("HT-C007", agent("title: ⟦!!binary aGk=⟧")),
    "python tag": ("HT-C007", agent("title: ⟦!!python/name:os.system ''⟧")),
    "merge key": ("HT-C007", agent("⟦<<⟧: {title: x}")),
    "list as a name": ("HT-C007", agent("⟦[⟧a]: x")),
    "no name": ("HT-C005", agent("⟦: x")),
    "repeated field": ("HT-C008", agent("⟦id⟧: other")),
    "repeated section": ("HT-C008", AGENT + REST + "⟦agent⟧: {id: x}\n"),
    "repeated target": ("HT-C008", mapped("{id_number: id_number, name: a, ⟦name⟧: b}")),
    "leading zero": ("HT-C009", agent("title: ⟦0123⟧")),
    "octal": ("HT-C009", agent("title: ⟦0o17⟧")),
    "hexadecimal": ("HT-C009", agent("title: ⟦0x1F⟧")),
    "leading zero where a number belongs": ("HT-C009", AGENT + REST + "delivery: {window: ⟦010⟧}\n"),
    "second document": ("HT-C010", AGENT + REST + "⟦---⟧\nversion: 1\n"),
    "text instead of sections": ("HT-C010", "⟦just text⟧\n"),
    "a list instead of sections": ("HT-C010", "⟦- a⟧\n- b\n"),
    "too deep": ("HT-C004", "a: " + "[" * 24 + "⟦[⟧" + "]" * 25),
}

FIELDS = {
    "misspelt field": ("HT-C012", agent("⟦titel⟧: x")),
    "unknown section": ("HT-C012", AGENT + REST + "⟦logging⟧: {}\n"),
    "field one level too deep": ("HT-C012", table_with("⟦message⟧: tax.deed@1")),
    "field in the wrong kind": ("HT-C012", table_with("⟦encoding⟧: gbk")),
    "misspelt field of a table": ("HT-C012", table_with("⟦pagerows⟧: 10")),
    "misspelt field of files": ("HT-C012", files_with("⟦encodng⟧: gbk")),
    "misspelt field of a mapped field": ("HT-C012", field_of("{from: b, ⟦dat⟧: YYYYMMDD}")),
    "misspelt field of a connection": ("HT-C012", server("⟦prot⟧: 5432")),
    "other database's field": ("HT-C012", connection("{type: sqlite, path: /x.db, ⟦host⟧: db}")),
    "missing agent id": ("HT-C011", AGENT.replace("agent:\n  id: demo-dept\n", "⟦agent⟧: {title: x}\n") + REST),
    "missing section": ("HT-C011", "⟦" + AGENT.replace("agent:\n  id: demo-dept\n", "") + REST),
    "missing message": ("HT-C011", AGENT + CONNECTION + f"send:\n  ⟦people⟧:\n{TABLE_FROM}{PERSON_MAP}"),
    "missing table and query": ("HT-C023", table("⟦{connection: registry, key: [id_number], cursor: u, every: 30s}⟧")),
    "table and query": (
        "HT-C023",
        table("{connection: registry, table: t, ⟦query⟧: SELECT a FROM t, key: [id_number], cursor: u, every: 30s}"),
    ),
    "query of two statements": (
        "HT-C038",
        table("{connection: registry, query: ⟦SELECT a FROM t;⟧, key: [id_number], cursor: u, every: 30s}"),
    ),
    "query with triggers": (
        "HT-C038",
        table("{connection: registry, query: SELECT a FROM t, mode: ⟦trigger⟧, key: [id_number], cursor: u, every: 30s}"),
    ),
    "missing connection type": ("HT-C011", AGENT + "connections:\n  ⟦registry⟧: {path: /x.db}\n" + PERSON_FLOW),
    "number as a title": ("HT-C013", agent("title: ⟦2025⟧")),
    "boolean as a title": ("HT-C013", agent("title: ⟦true⟧")),
    "list as a title": ("HT-C013", agent("title: ⟦[a, b]⟧")),
    "nothing as an id": ("HT-C013", AGENT.replace("id: demo-dept", "⟦id⟧:") + REST),
    "yes as a boolean": ("HT-C013", field_of("{from: b, required: ⟦yes⟧}")),
    "off as a boolean": ("HT-C013", field_of("{from: b, trim: ⟦off⟧}")),
    "number as a boolean": ("HT-C013", field_of("{from: b, trim: ⟦1⟧}")),
    "text as a number": ("HT-C013", AGENT + REST + "delivery: {window: ⟦二百⟧}\n"),
    "quoted number": ("HT-C013", AGENT + REST + 'delivery: {window: ⟦"200"⟧}\n'),
    "fraction as a whole number": ("HT-C013", AGENT + REST + "delivery: {window: ⟦20.5⟧}\n"),
    "text as a section": ("HT-C013", AGENT + REST + "delivery: ⟦fast⟧\n"),
    "list as a section": ("HT-C013", AGENT + REST + "delivery: ⟦[a]⟧\n"),
    "text as a list": ("HT-C013", table("{connection: registry, table: t, key: ⟦id_number⟧, cursor: u, every: 30s}")),
    "connection as text": ("HT-C013", connection("⟦postgres⟧")),
    "source as text": ("HT-C013", table("⟦registry⟧")),
    "map as text": ("HT-C013", mapped("⟦same_names⟧")),
    "mapped field as a list": ("HT-C013", field_of("⟦[a, b]⟧")),
    "codes as a list": ("HT-C013", field_of("{from: b, codes: ⟦[a, b]⟧}")),
    "constant as a fraction": ("HT-C013", field_of("{const: ⟦1.5⟧}")),
    "unknown language": ("HT-C014", agent("language: ⟦cn⟧")),
    "unknown connection type": ("HT-C014", connection("{type: ⟦postgresql⟧, host: db}")),
    "unknown encoding": ("HT-C014", files_with("encoding: ⟦gb2312⟧")),
    "unknown readiness": ("HT-C014", files_with("ready: ⟦ok⟧")),
    "deletion of files": ("HT-C014", files_with("then: ⟦delete⟧")),
    "unknown check": ("HT-C014", field_of("{from: b, check: ⟦cnid⟧}")),
    "unknown code list": ("HT-C014", field_of("{from: b, codes: ⟦gender⟧}")),
    "unknown on_fail": ("HT-C014", field_of("{from: b, on_fail: ⟦skip⟧}")),
    "window too small": ("HT-C015", AGENT + REST + "delivery: {window: ⟦0⟧}\n"),
    "batch too large": ("HT-C015", AGENT + REST + "delivery: {batch_records: ⟦5001⟧}\n"),
    "batch too many bytes": ("HT-C015", AGENT + REST + "delivery: {batch_bytes: ⟦9MiB⟧}\n"),
    "port too large": ("HT-C015", server("port: ⟦65536⟧")),
    "poll too often": ("HT-C015", table("{connection: registry, table: t, key: [id_number], cursor: u, every: ⟦1ms⟧}")),
    "empty key": ("HT-C015", table("{connection: registry, table: t, key: ⟦[]⟧, cursor: u, every: 30s}")),
    "empty code table": ("HT-C015", field_of("{from: b, codes: ⟦{}⟧}")),
    "long delimiter": ("HT-C015", files_with('delimiter: ⟦"||"⟧')),
    "number as a duration": ("HT-C016", table("{connection: registry, table: t, key: [id_number], cursor: u, every: ⟦30⟧}")),
    "duration without a unit": ("HT-C016", hub('receipt_within: ⟦"10"⟧')),
    "duration with a space": ("HT-C016", hub("receipt_within: ⟦10 m⟧")),
    "duration in Chinese": ("HT-C016", hub("receipt_within: ⟦10分钟⟧")),
    "duration of clock form": ("HT-C016", hub("receipt_within: ⟦1:30⟧")),
    "size without a unit": ("HT-C017", agent("disk_low_water: ⟦1073741824⟧")),
    "size in another unit": ("HT-C017", agent("disk_low_water: ⟦1GB⟧")),
    "flow id with an underscore": ("HT-C018", AGENT + CONNECTION + PERSON_FLOW.replace("  people:", "  ⟦all_people⟧:")),
    "flow id in Chinese": ("HT-C018", AGENT + CONNECTION + PERSON_FLOW.replace("  people:", "  ⟦人口⟧:")),
    "node code with capitals": ("HT-C018", AGENT.replace("demo-dept", "⟦Demo-Dept⟧") + REST),
    "node code too short": ("HT-C018", AGENT.replace("demo-dept", "⟦x⟧") + REST),
    "table with four parts": (
        "HT-C018",
        table("{connection: registry, table: ⟦a.b.c.d⟧, key: [id_number], cursor: u, every: 30s}"),
    ),
    "wildcard in a folder": ("HT-C018", files("{files: ⟦/data/*/x.csv⟧, key: [完税凭证号]}")),
    "message type without a version": (
        "HT-C018",
        AGENT + CONNECTION + PERSON_FLOW.replace("population.person@1", "⟦population.person⟧"),
    ),
    "listen without a port": ("HT-C018", agent("listen: ⟦127.0.0.1⟧")),
    "host with a slash in the middle": ("HT-C018", connection("{type: mysql, host: ⟦db/x⟧, database: d, user: u}")),
    "password in the file": ("HT-C019", server("password: ⟦hunter2⟧")),
    "secret with a wrong name": ("HT-C019", server("password: ⟦secret:Hub-Password⟧")),
    "password in the address": (
        "HT-C019",
        AGENT.replace("amqps://mq.example/exchange", "⟦amqps://u:hunter2@mq.example/exchange⟧") + REST,
    ),
    "relative path": ("HT-C020", agent("state_dir: ⟦var/lib⟧")),
    "home directory": ("HT-C020", connection("{type: sqlite, path: ⟦~/registry.db⟧}")),
    "relative glob": ("HT-C020", files("{files: ⟦drop/*.csv⟧, key: [完税凭证号]}")),
    "unknown time zone": ("HT-C021", agent("timezone: ⟦Asia/Bejing⟧")),
    "time zone as an offset": ("HT-C021", agent("timezone: ⟦+08:00⟧")),
    "cron with four fields": (
        "HT-C022",
        table('{connection: registry, table: t, key: [id_number], cursor: u, cron: ⟦"0 2 * *"⟧}'),
    ),
    "cron with an hour of 24": (
        "HT-C022",
        table('{connection: registry, table: t, key: [id_number], cursor: u, cron: ⟦"0 24 * * *"⟧}'),
    ),
    "cron with a numbered weekday": (
        "HT-C022",
        table('{connection: registry, table: t, key: [id_number], cursor: u, cron: ⟦"0 2 * * 1-5"⟧}'),
    ),
    "no schedule": ("HT-C023", table("⟦{connection: registry, table: t, key: [id_number], cursor: u}⟧")),
    "two schedules": (
        "HT-C023",
        table('{connection: registry, table: t, key: [id_number], cursor: u, every: 1s, ⟦cron⟧: "0 2 * * *"}'),
    ),
    "no way to log in": ("HT-C023", AGENT.replace("hub:", "⟦hub⟧:").replace("  password: secret:hub_password\n", "") + REST),
    "address without a scheme": ("HT-C030", AGENT.replace("amqps://mq.example/exchange", "⟦mq.example:5671⟧") + REST),
    "address of another kind": ("HT-C030", AGENT.replace("amqps://mq.example/exchange", "⟦https://mq.example/x⟧") + REST),
    "address with an impossible port": (
        "HT-C030",
        AGENT.replace("amqps://mq.example/exchange", "⟦amqps://mq.example:99999/x⟧") + REST,
    ),
    "another version": ("HT-C031", AGENT.replace("version: 1", "version: ⟦2⟧") + REST),
    "version as text": ("HT-C031", AGENT.replace("version: 1", 'version: ⟦"1"⟧') + REST),
    "certificate without a key": ("HT-C032", AGENT.replace("password: secret:hub_password", "⟦cert⟧: /x.crt") + REST),
    "key without a certificate": ("HT-C032", AGENT.replace("password: secret:hub_password", "⟦key⟧: secret:k") + REST),
    "check of a certificate without an authority": ("HT-C032", server("tls: ⟦verify-ca⟧")),
    "password and certificate": (
        "HT-C033",
        AGENT.replace("  password:", "  cert: /x.crt\n  key: secret:k\n  ⟦password⟧:") + REST,
    ),
    "constant and column": ("HT-C033", field_of("{from: b, ⟦const⟧: x}")),
    "codes and date": ("HT-C033", field_of('{from: b, codes: {"1": x}, ⟦date⟧: YYYYMMDD}')),
    "required with a default": ("HT-C033", field_of("{from: b, required: true, ⟦default⟧: x}")),
    "kept and archived": ("HT-C033", files_with("then: keep, ⟦archive_to⟧: /x")),
    "archive in the watched folder": ("HT-C038", files_with("archive_to: ⟦/data/drop⟧")),
    "column twice in the key": (
        "HT-C038",
        table("{connection: registry, table: t, key: [id_number, ⟦id_number⟧], cursor: u, every: 30s}"),
    ),
    "authority for a plain connection": (
        "HT-C038",
        AGENT.replace("amqps://mq.example", "amqp://localhost") + "  ⟦ca⟧: /x.crt\n" + REST,
    ),
}

FLOWS = {
    "unknown connection": ("HT-C024", table("{connection: ⟦registri⟧, table: t, key: [id_number], cursor: u, every: 30s}")),
    "source of no kind": ("HT-C026", table("{every: 30s}").replace("    from:", "    ⟦from⟧:")),
    "empty source": ("HT-C026", table("{}").replace("    from:", "    ⟦from⟧:")),
    "receive": ("HT-C029", AGENT + REST + "⟦receive⟧:\n  death-notice: {title: 死亡人员信息}\n"),
    "same files twice": (
        "HT-C034",
        AGENT + DEED_FLOW + DEED_FLOW.replace("send:\n  deeds:", "  again:").replace("/data/drop/*.csv", "⟦/data/drop/*.csv⟧"),
    ),
    "unused connection": ("HT-C035", AGENT + CONNECTION.replace("registry:", "⟦registry⟧:") + DEED_FLOW),
    "clear text": ("HT-C036", AGENT.replace("amqps://mq.example/exchange", "⟦amqp://mq.example/exchange⟧") + REST),
    "no flow": ("HT-C037", AGENT + "⟦send⟧:\n"),
    "no name": ("HT-C039", AGENT.replace("code: demo-hub", "code: ⟦change-me⟧") + REST),
}

MAPS = {
    "unknown message type": (
        "HT-M001",
        AGENT + CONNECTION + PERSON_FLOW.replace("population.person@1", "⟦population.persons@1⟧"),
    ),
    "unknown version": ("HT-M001", AGENT + CONNECTION + PERSON_FLOW.replace("population.person@1", "⟦population.person@9⟧")),
    "unknown target": ("HT-M002", mapped("{id_number: id_number, name: name, ⟦nmae⟧: x}")),
    "swapped sides": ("HT-M002", mapped("{id_number: id_number, name: name, ⟦csrq⟧: born_on}")),
    "missing required target": ("HT-M003", mapped("{id_number: id_number}").replace("    map:", "    ⟦map⟧:")),
    "key column not mapped": (
        "HT-M005",
        table("{connection: registry, table: t, key: [id_number, ⟦xh⟧], cursor: u, every: 30s}"),
    ),
    "key with a default": ("HT-M006", mapped("{id_number: {from: id_number, ⟦default⟧: x}, name: name}")),
    "key left empty": ("HT-M006", mapped("{id_number: {from: id_number, on_fail: ⟦empty⟧}, name: name}")),
    "constant not in the code list": ("HT-M007", mapped("{id_number: id_number, name: name, status: {const: ⟦alive⟧}}")),
    "code not in the code list": (
        "HT-M007",
        mapped('{id_number: id_number, name: name, status: {from: zt, codes: {"1": ⟦aktive⟧}}}'),
    ),
    "Java date pattern": ("HT-M008", field_of("{from: b, date: ⟦yyyy-MM-dd⟧}")),
    "C date pattern": ("HT-M008", field_of('{from: b, date: ⟦"%Y%m%d"⟧}')),
    "date pattern with a gap": ("HT-M008", field_of("{from: b, date: ⟦YYYY-DD⟧}")),
}

CASES = {
    f"{group}: {name}": case
    for group, cases in {"syntax": SYNTAX, "node": NODES, "field": FIELDS, "flow": FLOWS, "map": MAPS}.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize("code, marked", CASES.values(), ids=CASES.keys())
def test_a_slip_is_told_once_and_at_its_place(code: str, marked: str) -> None:
    """Each slip gives exactly one problem, with its code, line, column and end, and nothing that only follows from it."""
    text, spot = unmark(marked)
    found = [(problem.code, problem.line, problem.column, problem.end_column) for problem in problems_of(text)]
    assert found == [(code, spot.line, spot.column, spot.end_column)]


def test_there_are_enough_cases() -> None:
    """The table covers at least a hundred slips, and every code of the loader that a text alone can bring up."""
    assert len(CASES) >= 100
    by_files_only = {"HT-C001", "HT-C002", "HT-C003", "HT-C027", "HT-C028", "HT-M004"}
    from agent.settings.codes import CODES

    assert CODES.keys() - by_files_only == {code for code, _ in CASES.values()}
