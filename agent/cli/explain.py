"""`huitong explain`: the reference, offline."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from agent.cli.base import Session, argument, command, pass_session
from agent.cli.error_index import CodePage, code_pages
from agent.cli.output import side_name
from agent.errors import NotFound
from agent.i18n import N_, _, language
from agent.settings.message_types import MessageTypeFile, load_message_types
from agent.settings.reference import FieldDoc, field_docs, find_fields
from agent.settings.schemas import file_models
from agent.settings.suggest import near
from connectors import BUILTIN

_CODE = re.compile(r"(?:HT-)?([A-Z][0-9]{3})", re.IGNORECASE)


@command(
    "explain",
    N_("Explain a field, an error code or a message type, offline.\nFor example: send.*.from.cursor, HT-C012, tax.deed@1"),
)
@argument("topic", metavar=N_("TOPIC"))
@pass_session
def explain(session: Session, topic: str) -> None:
    """Show what is known of a topic. Raises NotFound, with the nearest names."""
    match = _CODE.fullmatch(topic)
    if match:
        _explain_code(session, f"HT-{match[1].upper()}")
    elif "@" in topic:
        _explain_message_type(session, topic)
    else:
        _explain_fields(session, topic)


# -- codes -----------------------------------------------------------------------------------------------------------


def _explain_code(session: Session, code: str) -> None:
    pages = code_pages()
    if code not in pages:
        raise _unknown(N_("error code"), code, list(pages))
    page = pages[code]
    facts = {"cause": _(page.cause), "impact": _(page.impact), "action": _(page.action), "side": str(page.side)}
    session.output.data({"code": code, "text": _(page.text)} | facts, lambda: _code_lines(page))


def _code_lines(page: CodePage) -> Iterator[str]:
    yield _(N_("{code} {text} (to act: {side})")).format(code=page.code, text=page.symptom(), side=side_name(page.side))
    for name, fact in page.facts():
        yield f" {name}  {fact}"


# -- fields ----------------------------------------------------------------------------------------------------------


def _explain_fields(session: Session, topic: str) -> None:
    docs = [doc for model in file_models(BUILTIN).values() for doc in field_docs(model)]
    found = find_fields(docs, topic)
    if not found:
        raise _unknown(N_("field"), topic, [doc.path for doc in docs] + sorted({doc.path.rpartition(".")[2] for doc in docs}))
    session.output.data([field_as_json(doc) for doc in found], lambda: _field_lines(found, docs))


def field_as_json(doc: FieldDoc) -> dict[str, object]:
    """Return a field for machines, texts in the language of the context."""
    return {
        "path": doc.path,
        "form": doc.form,
        "title": _(doc.title),
        "more": _(doc.more),
        "type": doc.type.localised(),
        "required": doc.required,
        "default": doc.default,
        "range": doc.range.localised() if doc.range else None,
        "choices": list(doc.choices),
        "examples": list(doc.examples),
        "since": doc.since,
    }


def _field_lines(found: Sequence[FieldDoc], docs: Sequence[FieldDoc]) -> Iterator[str]:
    for at, doc in enumerate(found):
        if at:
            yield ""
        yield f"{doc.path}  ({doc.form})" if doc.form else doc.path
        yield f"  {_(doc.title)}"
        if doc.more:
            yield f"  {_(doc.more)}"
        for name, fact in field_facts(doc):
            yield f"  {name}: {fact}"
        inner = list(dict.fromkeys(other.path for other in docs if _is_inside(other.path, doc.path)))
        if inner:
            yield f"  {_(N_('fields'))}: {', '.join(path.removeprefix(f'{doc.path}.').removeprefix('*.') for path in inner)}"


def _is_inside(path: str, section: str) -> bool:
    rest = path.removeprefix(f"{section}.").removeprefix("*.")
    return path.startswith(f"{section}.") and "." not in rest


def field_facts(doc: FieldDoc) -> Iterator[tuple[str, str]]:
    """Yield what there is to say of a field beside its title, in the language of the context."""
    yield _(N_("type")), doc.type.localised()
    if doc.choices:
        yield _(N_("values")), ", ".join(doc.choices)
    if doc.range is not None:
        yield _(N_("range")), doc.range.localised()
    if doc.required:
        yield _(N_("required")), _(N_("yes"))
    elif doc.default is not None:
        yield _(N_("default")), doc.default
    if doc.examples:
        yield _(N_("example")), f"{doc.path.rpartition('.')[2]}: {doc.examples[0]}"


# -- message types ---------------------------------------------------------------------------------------------------


def _explain_message_type(session: Session, topic: str) -> None:
    known = load_message_types()
    if topic not in known:
        raise _unknown(N_("message type"), topic, list(known))
    definition = known[topic]
    session.output.data(definition.model_dump(mode="json"), lambda: _message_lines(definition))


def _message_lines(definition: MessageTypeFile) -> Iterator[str]:
    yield f"{definition.name}  {getattr(definition.title, language())}"
    yield f"  {_(N_('resource'))}: {definition.resource}"
    yield f"  dataschema: {definition.dataschema}"
    for name, field in definition.fields.items():
        marks = [
            field.type,
            *([_(N_("required"))] if field.required else []),
            *([f"≤ {field.max_length}"] if field.max_length else []),
        ]
        table = field.code_table() or {}
        codes = f"  [{', '.join(f'{code} {text}' for code, text in table.items())}]" if table else ""
        yield f"  {name}  {getattr(field.title, language())}  ({', '.join(marks)}){codes}"


def _unknown(what: str, name: str, names: Sequence[str]) -> NotFound:
    guesses = near(name, names)
    examples = N_("for example: huitong explain send, huitong explain HT-C012, huitong explain tax.deed@1")
    hint = _(N_("did you mean: {names}")).format(names=_(N_(" or ")).join(guesses)) if guesses else examples
    return NotFound(hint=hint, what=what, name=name)
