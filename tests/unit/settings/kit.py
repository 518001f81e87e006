"""Configurations written as text, with the place that is wrong marked in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agent.errors import SettingsError
from agent.settings.agent_file import AgentFile
from agent.settings.compose import agent_settings_model
from agent.settings.document import parse_document
from agent.settings.load import Loaded, assemble
from agent.settings.message_types import check_messages
from agent.settings.problems import Problem
from connectors import BUILTIN

MODEL = agent_settings_model(BUILTIN)

AGENT = """\
version: 1
agent:
  id: demo-dept
hub:
  code: demo-hub
  url: amqps://mq.example/exchange
  password: secret:hub_password
"""

CONNECTION = """\
connections:
  registry:
    type: sqlite
    path: /data/registry.db
"""

TABLE_FROM = "    from: {connection: registry, table: person, key: [id_number], cursor: updated_at, every: 30s}\n"
PERSON_MAP = "    map: {id_number: id_number, name: name}\n"
PERSON_FLOW = f"send:\n  people:\n    message: population.person@1\n{TABLE_FROM}{PERSON_MAP}"

DEED_MAP = "    map: {voucher_no: 完税凭证号, amount: 金额, paid_on: 日期}\n"
DEED_FLOW = f"send:\n  deeds:\n    message: tax.deed@1\n    from: {{files: /data/drop/*.csv, key: [完税凭证号]}}\n{DEED_MAP}"

VALID = AGENT + CONNECTION + PERSON_FLOW


@dataclass(frozen=True)
class Spot:
    """Where a marked text said that something is wrong: line, column and end column, from 1."""

    line: int
    column: int
    end_column: int


def unmark(text: str) -> tuple[str, Spot]:
    """Return a text without its marks ⟦ and ⟧, and what they enclosed; without a closing mark, one character."""
    before, _, rest = text.partition("⟦")
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    marked, closed, after = rest.partition("⟧")
    if not closed:
        return before + rest, Spot(line, column, column + 1)
    return before + marked + after, Spot(line, column, column + len(marked))


def load_text(*texts: str, check: bool = True) -> Loaded[AgentFile]:
    """Load agent.yaml and files of conf.d from their texts."""
    names = ["agent.yaml", *(f"conf.d/{number}.yaml" for number in range(1, len(texts)))]
    documents = [parse_document(text, name) for text, name in zip(texts, names, strict=True)]
    return assemble(documents, MODEL, checks=[check_messages] if check else [])


def problems_of(*texts: str, check: bool = True) -> list[Problem]:
    """Return the problems of a configuration, warnings included."""
    try:
        return list(load_text(*texts, check=check).warnings)
    except SettingsError as error:
        return [problem for problem in error.problems if isinstance(problem, Problem)]


def codes(problems: Iterable[Problem]) -> list[str]:
    """Return the codes of problems, in their order."""
    return [problem.code for problem in problems]


def write_files(folder: Path, **texts: str) -> Path:
    """Write agent.yaml and, under other names, files of its conf.d; return agent.yaml."""
    (folder / "conf.d").mkdir()
    for name, text in texts.items():
        path = folder / "agent.yaml" if name == "agent" else folder / "conf.d" / f"{name}.yaml"
        path.write_text(text, "utf-8")
    return folder / "agent.yaml"
