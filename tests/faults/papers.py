"""What stands in the configuration files of a world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.testing.nodes.mariadb import MariadbDatabase
from agent.testing.nodes.postgres import PostgresDatabase
from agent.testing.nodes.rabbitmq import BrokerSpace

MESSAGE_TYPE: Final = """\
code: test.thing
version: 1
title: {zh: 物品, en: thing}
resource: 100001/000001
dataschema: https://schemas.huitong.example/test.thing/1
fields:
  id: {title: {zh: 编号, en: number}, type: text, required: true}
  rev: {title: {zh: 版本, en: version}, type: integer, required: true}
  name: {title: {zh: 名称, en: name}, type: text}
  amount: {title: {zh: 金额, en: amount}, type: decimal}
"""


EXACT: Final = ("trigger", "slot", "binlog")
"""Modes of capture that see every change."""

BY_CURSOR: Final = ("polling", "watermark")

Where = PostgresDatabase | MariadbDatabase | None
"""A database on a server, or the file in the folder of the world."""


@dataclass(frozen=True, slots=True)
class AgentPapers:
    """What differs from world to world in the agent's configuration. Small batches: many messages, many chances to die."""

    batch_records: int = 10
    window: int = 20
    unsettled: int = 100
    page_rows: int = 50
    retention: str = "30d"
    low_water: str = "16MiB"
    receipt_within: str = "10m"
    mode: str = "polling"  # how changes of tables are seen
    every: str = "100ms"
    files: bool = True  # whether the drop folder is a flow


def agent_yaml(folder: Path, code: str, hub: str, url: str, source: Where, state_dir: Path, papers: AgentPapers) -> str:
    """Return agent.yaml."""
    return f"""\
version: 1
agent:
  id: {code}
  language: en
  state_dir: {state_dir}
  keys_dir: {folder}/keys
  secrets_dir: {folder}/secrets
  control_socket: {folder}/s
  listen: ~
  disk_low_water: {papers.low_water}
  retention: {papers.retention}
hub:
  code: {hub}
  url: {url}
  password: secret:hub_password
  trust: {folder}/trust
  receipt_within: {papers.receipt_within}
message_types: {folder}/types
connections:
  registry:
{_connection(folder, source)}
send:
{_table_flow("things", "thing", papers)}
{_table_flow("notes", "note", papers)}
{_file_flow(folder) if papers.files else ""}
delivery: {{batch_records: {papers.batch_records}, window: {papers.window}, unsettled: {papers.unsettled}}}
"""


def _connection(folder: Path, source: Where) -> str:
    if source is None:
        return f"    type: sqlite\n    path: {folder}/registry.db"
    kind = "postgres" if isinstance(source, PostgresDatabase) else "mariadb"
    return (
        f"    type: {kind}\n    host: {source.host}\n    port: {source.port}\n    database: {source.database}\n"
        f"    user: {source.user}\n    password: secret:source"
    )


def _table_flow(flow: str, table: str, papers: AgentPapers) -> str:
    by_cursor = "\n      cursor: changed_at\n      overlap: 4s" if papers.mode in BY_CURSOR else ""
    return f"""\
  {flow}:
    message: test.thing@1
    from:
      connection: registry
      table: {table}
      key: [id]
      mode: {papers.mode}{by_cursor}
      most_deletes: 100
      every: {papers.every}
      page_rows: {papers.page_rows}
    map: {{id: id, rev: rev, name: name, amount: {{from: amount, decimal: 2}}}}"""


def _file_flow(folder: Path) -> str:
    return f"""\
  slips:
    message: test.thing@1
    from: {{files: "{folder}/drop/*.csv", ready: ok-file, encoding: gb18030, key: [编号], every: 100ms}}
    map: {{id: 编号, rev: 版本, name: 名称, amount: {{from: 金额(元), decimal: 2}}}}"""


def hub_yaml(folder: Path, code: str, space: BrokerSpace, store: PostgresDatabase | None) -> str:
    """Return hub.yaml."""
    return f"""\
version: 1
hub:
  code: {code}
  language: en
  keys_dir: {folder}/hub-keys
  secrets_dir: {folder}/hub-secrets
  listen: ~
store:
{_store(folder, store)}
broker:
  url: amqp://{space.host}:{space.port}/{space.vhost}
  user: {space.user}
  password: secret:broker
  management: {{url: "{space.management_url}", user: {space.user}, password: secret:broker}}
ingest: {{lease: 3s}}
message_types: {folder}/types
"""


def _store(folder: Path, store: PostgresDatabase | None) -> str:
    if store is None:
        return f"  type: sqlite\n  path: {folder}/hub.db"
    return (
        f"  type: postgres\n  host: {store.host}\n  port: {store.port}\n  database: {store.database}\n"
        f"  user: {store.user}\n  password: secret:store"
    )
