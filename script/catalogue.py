r"""The Chinese catalogue: what the source marks with `N_` and `_` on one side, `huitong.po` on the other.

extract       bring new texts into the .po, untranslated, and drop those that are gone
merge FILE…   take translations from files with lines `english<TAB>chinese` (line ends written as \n)
compile       write the .mo that the program reads
check         fail unless every text is translated, with the same {fields}, and none is stale
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import string
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agent", "connectors", "hub")
KEYWORDS = ("N_", "_")
PO = ROOT / "agent" / "locale" / "zh_CN" / "LC_MESSAGES" / "huitong.po"
HEADER = """\
# Chinese texts of Huitong. `script/catalogue.py extract` adds what is new in the source; write the translation here.
#"""
_NEEDED = (b"Language", b"Plural-Forms", b"MIME-Version", b"Content-Type", b"Content-Transfer-Encoding")
_HEADER_LINE = re.compile(rb'^"([A-Z][A-Za-z-]+): .*\n', re.MULTILINE)


def marked_texts(source: str) -> list[str]:
    """Return the marked texts of a module in their order; unlike babel's own reader it looks into f-strings too."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and node.args]
    marked = [(call, call.args[0]) for call in calls if isinstance(call.func, ast.Name) and call.func.id in KEYWORDS]
    texts = [(call.lineno, call.col_offset, text.value) for call, text in marked if isinstance(text, ast.Constant)]
    return [text for _line, _column, text in sorted(texts)]


def source_texts() -> dict[str, list[str]]:
    """Return every marked text, with the files it is in."""
    found: dict[str, list[str]] = {}
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        name = str(path.relative_to(ROOT))
        for text in marked_texts(path.read_text(encoding="utf-8")):
            files = found.setdefault(str(text), [])
            if name not in files:
                files.append(name)
    found.pop("", None)  # gettext's name for the header
    return found


def read() -> Catalog:
    """Return the catalogue as it is in the .po file; empty when there is none yet."""
    if not PO.exists():
        return Catalog(locale="zh_CN")
    with PO.open("rb") as file:
        return read_po(file, locale="zh_CN", abort_invalid=True)


def write(translations: dict[str, str], texts: dict[str, list[str]]) -> None:
    """Write the .po file: one entry per text of the source, in their order, without dates and line numbers that only churn."""
    catalogue = Catalog(locale="zh_CN", project="Huitong", header_comment=HEADER, fuzzy=False)
    for text, files in sorted(texts.items()):
        catalogue.add(text, translations.get(text, ""), locations=[(name, 0) for name in files])
    buffer = io.BytesIO()
    write_po(buffer, catalogue, width=130, include_lineno=False)
    PO.parent.mkdir(parents=True, exist_ok=True)
    PO.write_bytes(_HEADER_LINE.sub(_needed_line, buffer.getvalue()))


def translations_of(catalogue: Catalog) -> dict[str, str]:
    """Return English → Chinese, the untranslated as empty strings."""
    return {str(message.id): str(message.string) for message in catalogue if message.id}


def compile_catalogue() -> Path:
    """Write the .mo beside the .po and return its path."""
    target = PO.with_suffix(".mo")
    buffer = io.BytesIO()
    write_mo(buffer, read())
    target.write_bytes(buffer.getvalue())
    return target


def extract() -> int:
    """Bring the .po up to date with the source."""
    texts = source_texts()
    known = translations_of(read())
    write(known, texts)
    print(f"{len(texts)} texts, {len(texts.keys() - known.keys())} new, {len(known.keys() - texts.keys())} dropped")
    return 0


def merge(paths: Iterable[Path]) -> int:
    """Bring the .po up to date with the source and take translations from tab-separated files."""
    texts = source_texts()
    known = translations_of(read())
    wrong = 0
    for path in paths:
        for number, english, chinese in _lines(path):
            if not chinese:
                print(f"{path}:{number}: not english<TAB>chinese", file=sys.stderr)
            elif english not in texts:
                print(f"{path}:{number}: not in the source: {english}", file=sys.stderr)
            else:
                known[english] = chinese
                continue
            wrong += 1
    write(known, texts)
    missing = sum(not known.get(text) for text in texts)
    print(f"{len(texts)} texts, {missing} without a translation, {wrong} lines without a use")
    return 0


def check() -> int:
    """Compare source and .po; return 1 when they differ, having said where."""
    texts = source_texts()
    known = translations_of(read())
    complaints = [f"not in the catalogue: {text!r} ({texts[text][0]})" for text in sorted(texts.keys() - known.keys())]
    complaints += [f"no longer in the source: {text!r}" for text in sorted(known.keys() - texts.keys())]
    for text in sorted(texts.keys() & known.keys()):
        if not known[text]:
            complaints.append(f"not translated: {text!r} ({texts[text][0]})")
        elif _fields(text) != _fields(known[text]):
            complaints.append(f"other {{fields}} in the translation: {text!r} → {known[text]!r}")
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


def _needed_line(line: re.Match[bytes]) -> bytes:
    return line[0] if line[1] in _NEEDED else b""


def _lines(path: Path) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if line:
            english, _, chinese = line.partition("\t")
            yield number, english.replace("\\n", "\n"), chinese.replace("\\n", "\n")


def _fields(text: str) -> set[str]:
    """Return the names in braces; a text that is no format string (a lone brace) has none."""
    try:
        return {name for _literal, name, _spec, _conversion in string.Formatter().parse(text) if name is not None}
    except ValueError:
        return set()


def main(arguments: list[str]) -> int:
    """Run one command and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("extract", "merge", "compile", "check"))
    parser.add_argument("files", nargs="*", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.command == "merge":
        return merge(chosen.files)
    if chosen.command == "compile":
        compile_catalogue()
        return 0
    return extract() if chosen.command == "extract" else check()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
