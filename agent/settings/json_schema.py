"""The JSON Schema of a settings model, for editors, with titles in both languages."""

from __future__ import annotations

from contextvars import copy_context
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter

from agent.i18n import LANGUAGES, _, use_language
from agent.settings.base import SettingsModel
from agent.settings.document import parse_document
from agent.settings.types import format_duration, format_size

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(model: type[SettingsModel], schema_id: str) -> dict[str, Any]:
    """Return the schema of a model as a JSON document."""
    schema = model.model_json_schema(by_alias=True)
    polished: dict[str, Any] = _polish(schema)
    return {"$schema": DIALECT, "$id": schema_id} | polished


def in_both(text: str) -> str:
    """Return a catalogue text in Chinese and English."""
    spoken = dict.fromkeys(copy_context().run(_spoken, language, text) for language in LANGUAGES)
    return " / ".join(spoken)


def _spoken(language: str, text: str) -> str:
    use_language(language)
    return _(text)


def _polish(node: Any) -> Any:
    """Return a part of pydantic's schema in the form editors show: both languages, values as written in YAML."""
    if isinstance(node, list):
        return [_polish(item) for item in node]
    if not isinstance(node, dict):
        return node
    polished = {key: _polish(value) for key, value in node.items() if not key.startswith("x-")}
    if "additionalProperties" in node and "properties" in node:  # a section: its name and docstring are for developers
        polished.pop("title", None)
        polished.pop("description", None)
    if "x-more" in node:
        polished |= _field_words(node)
        if "default" in node:
            polished["default"] = _written(node["default"], _named_types(node))
            if node["default"] is None or isinstance(node["default"], dict):
                del polished["default"]
    return polished


def _field_words(node: dict[str, Any]) -> dict[str, Any]:
    words: dict[str, Any] = {"title": in_both(node["title"])}
    if node["x-more"]:
        words["description"] = in_both(node["x-more"]).replace(" / ", "\n", 1)
    if node["x-examples"]:
        words["examples"] = [parse_document(text, "").data for text in node["x-examples"]]
    return words


def _named_types(node: dict[str, Any]) -> set[str]:
    return {str(part.get("x-type")) for part in (node, *node.get("anyOf", ()))}


def _written(value: Any, named: set[str]) -> Any:
    if "size" in named and isinstance(value, int):
        return format_size(value)
    if "duration" in named and isinstance(value, str):
        return format_duration(TypeAdapter(timedelta).validate_python(value))
    return value
