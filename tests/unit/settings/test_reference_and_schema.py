"""What is generated from the models: the reference, the lookups of `explain`, the JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter

from agent.i18n import use_language
from agent.settings.base import SettingsModel
from agent.settings.document import parse_document
from agent.settings.json_schema import json_schema
from agent.settings.reference import FieldDoc, field_docs, find_fields
from agent.settings.schemas import file_models
from connectors import BUILTIN

MODELS = file_models(BUILTIN)
DOCS = [doc for model in MODELS.values() for doc in field_docs(model)]


@pytest.fixture(autouse=True)
def english() -> None:
    """Texts are compared in English."""
    use_language("en")


def models(model: type[SettingsModel], seen: set[type[SettingsModel]]) -> Iterator[type[SettingsModel]]:
    for subclass in model.__subclasses__():
        if subclass not in seen:
            seen.add(subclass)
            yield subclass
        yield from models(subclass, seen)


@pytest.mark.parametrize("doc", DOCS, ids=lambda doc: f"{doc.path} {doc.form}")
def test_every_field_has_a_title_and_a_value_to_show(doc: FieldDoc) -> None:
    """A field that is not a section has an example, and its texts end and begin as sentences of the reference do."""
    assert doc.title
    assert not doc.title.endswith(".")
    assert not doc.more or doc.more.endswith(".")
    if "section" not in str(doc.type) and "forms" not in str(doc.type):
        assert doc.examples


def test_every_example_is_valid_for_its_field() -> None:
    """The examples of the reference are read by the loader and accepted by the field they belong to."""
    checked = 0
    for model in models(SettingsModel, set()):
        for info in model.model_fields.values():
            extra: Any = info.json_schema_extra
            for example in extra["x-examples"]:
                document = parse_document(example, "example")
                assert document.found == [], example
                field: Any = TypeAdapter(Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation)
                field.validate_python(document.data, strict=True)
                checked += 1
    assert checked > 80


def test_defaults_are_shown_as_they_would_be_written() -> None:
    """Durations, sizes, secrets and paths have their YAML form."""
    shown = {doc.path: doc.default for doc in DOCS}
    assert shown["agent.disk_low_water"] == "1GiB"
    assert shown["hub.receipt_within"] == "10m"
    assert shown["agent.state_dir"] == "/var/lib/huitong"


@pytest.mark.parametrize(
    "wanted, found",
    [
        ("send.*.from.cursor", ["send.*.from.cursor"]),
        ("send.tax-csv.from.cursor", ["send.*.from.cursor"]),
        ("send.tax-csv.from.key.0", ["send.*.from.key", "send.*.from.key"]),
        ("from.cursor", ["send.*.from.cursor"]),
        ("cursor", ["send.*.from.cursor"]),
        ("send.cursor", []),
        ("hub.url", ["hub.url"]),
        ("no.such.field", []),
    ],
)
def test_a_field_is_found_by_any_way_of_naming_it(wanted: str, found: list[str]) -> None:
    """The whole path, the path in one's own file, or its end."""
    agent = list(field_docs(MODELS["agent"]))
    assert [doc.path for doc in find_fields(agent, wanted)] == found


def test_forms_of_a_section_are_told_apart() -> None:
    """Fields of a table and of files carry the name of their kind."""
    assert {doc.form for doc in DOCS if doc.path == "send.*.from.every"} == set(BUILTIN)


@pytest.mark.parametrize("name", MODELS)
def test_a_schema_is_json_without_traces_of_its_making(name: str) -> None:
    """Editors get titles, descriptions, defaults and examples, and none of our own notes."""
    schema = json_schema(MODELS[name], "urn:x")
    text = json.dumps(schema)
    assert '"x-' not in text
    assert schema["additionalProperties"] is False


def test_the_schema_carries_both_languages() -> None:
    """Titles are Chinese and English."""
    schema = json_schema(MODELS["agent"], "urn:x")
    assert schema["$defs"]["AgentSection"]["properties"]["timezone"]["title"] == "时区 / time zone"


def test_the_schema_writes_values_as_operators_do() -> None:
    """Defaults and examples have their YAML form."""
    agent = json_schema(MODELS["agent"], "urn:x")["$defs"]["AgentSection"]["properties"]
    assert (agent["disk_low_water"]["default"], agent["retention"]["default"]) == ("1GiB", "30d")
    assert agent["id"]["examples"] == ["510100-bdc-01"]
