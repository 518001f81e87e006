"""One gettext catalogue, two languages.

English is the language of the source; `agent/locale/zh_CN` carries the Chinese. Text is marked with `N_` where it is
declared and translated with `_` where it is shown, so that an error raised deep below can be read in either language.
"""

from __future__ import annotations

import gettext as _gettext
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Final

LANGUAGES: Final = ("zh", "en")
LOCALE_DIR: Final = Path(__file__).with_name("locale")

_language: ContextVar[str] = ContextVar("huitong_language", default="en")


@cache
def _catalogue(language: str) -> _gettext.NullTranslations:
    if language == "en":
        return _gettext.NullTranslations()
    return _gettext.translation("huitong", localedir=LOCALE_DIR, languages=["zh_CN"])


def use_language(language: str) -> None:
    """Choose the language of this context: `zh` or `en`."""
    if language not in LANGUAGES:
        raise ValueError(f"no such language: {language}")
    _language.set(language)


def language() -> str:
    """Return the language of this context."""
    return _language.get()


def N_(message: str) -> str:
    """Mark `message` for the catalogue."""
    return message


def _(message: str) -> str:
    """Translate `message` into the language of this context."""
    return _catalogue(_language.get()).gettext(message) if message else ""


def language_from_locale(environment: dict[str, str]) -> str:
    """Return the language that LC_ALL, LC_MESSAGES or LANG asks for; Chinese when none says."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = environment.get(name, "")
        if value and value not in ("C", "POSIX", "C.UTF-8", "C.utf8"):
            return "zh" if value.lower().startswith("zh") else "en"
    return "zh"


_SPOKEN: Final = ("what", "why", "limits")


def spoken(details: Mapping[str, object]) -> dict[str, object]:
    """Return details with those translated that are texts of ours by their name; what a driver said stays as it is."""
    return {name: _(value) if name in _SPOKEN and isinstance(value, str) and value else value for name, value in details.items()}
