"""What can be wrong with a map, found before any row is read."""

from __future__ import annotations

from collections.abc import Sequence

from agent.errors import SettingsError
from agent.i18n import N_
from agent.mapping.suggest import suggest


class UnknownColumn(SettingsError):
    """The map or the key names a column that the source does not have. `suggestion` is in the details, may be empty."""

    code = "HT-M004"
    text = N_("the source has no column {column}")

    @classmethod
    def among(cls, column: str, columns: Sequence[str], target: str = "") -> UnknownColumn:
        """Return the error with the likeliest column as its hint."""
        suggestion, hint = suggest(column, columns)
        return cls(hint=hint, column=column, target=target, suggestion=suggestion, columns=", ".join(columns))


class UnmappedKey(SettingsError):
    """A key column has no field, so that it would have no name on the wire."""

    code = "HT-M005"
    text = N_("the key column {column} is not mapped")
    hint = N_("add a line to the map that reads it")


class UnstableKey(SettingsError):
    """A key would not be the same each time, or not there at all."""

    code = "HT-M006"
    text = N_("the key field {target} may be neither missing nor filled by default")


class BadDatePattern(SettingsError):
    """A date pattern that says nothing, or not enough."""

    code = "HT-M008"
    text = N_("field {target}: {pattern} is no date pattern")
    hint = N_("write for example YYYYMMDD, YYYY-MM-DD, YYYY/M/D, YYYY-MM-DD HH:mm:ss or epoch-ms")


class BadField(SettingsError):
    """A field that contradicts itself."""

    code = "HT-M020"
    text = N_("field {target}: {first} and {second} exclude each other")


class EmptyField(SettingsError):
    """A field with neither a column nor a constant."""

    code = "HT-M021"
    text = N_("field {target} has neither a column nor a constant")


class DuplicateTarget(SettingsError):
    """Two fields of the same name."""

    code = "HT-M022"
    text = N_("field {target} is mapped twice")


class BadTarget(SettingsError):
    """A field name that JSON would have to escape. Names are part of a standard; nothing sane needs that."""

    code = "HT-M025"
    text = N_("the field name {target} is empty or has quotation marks, backslashes or control characters in it")


class UnknownName(SettingsError):
    """A check, a code list or a time zone that does not exist."""

    code = "HT-M023"
    text = N_("there is no check named {name}")
    hint = N_("known are: {known}")


class BadConstant(SettingsError):
    """A constant, default or code that cannot be sent."""

    code = "HT-M024"
    text = N_("field {target}: {value} cannot be sent as a value")
