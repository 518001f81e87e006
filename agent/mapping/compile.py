"""A spec and the columns of the source → a `Mapper`. Everything that can be wrong is found here, all of it in one run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import tzinfo
from types import EllipsisType
from typing import Final
from zoneinfo import ZoneInfo

from agent.errors import SettingsError
from agent.i18n import N_
from agent.mapping import dates, problems
from agent.mapping.codes import Codes
from agent.mapping.field import Field
from agent.mapping.mapper import Mapper
from agent.mapping.numbers import Booleans, Decimals, Integers
from agent.mapping.plain import Conversion, Json, Plain, plain
from agent.mapping.spec import FieldSpec, MapSpec, OnFail
from agent.mapping.unfit import Unfit
from agent.model import Value
from agent.standards.checks import CHECKS, Check
from agent.standards.code_lists import NAMES as CODE_LISTS
from agent.standards.code_lists import code_list

_NAME: Final = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]+')
_CONVERSIONS: Final = ("codes", "date", "decimal", "integer", "boolean")


def compile_map(spec: MapSpec, columns: Sequence[str]) -> Mapper:
    """Return the mapper of a spec for rows of these columns.

    Raises SettingsError: the only problem itself, or one error whose `problems` are all of them.
    """
    compiler = _Compiler(spec, columns)
    mapper = compiler.compile()
    if len(compiler.problems) == 1:
        raise compiler.problems[0]
    if compiler.problems or mapper is None:
        raise SettingsError(problems=tuple(compiler.problems))
    return mapper


class _Compiler:
    def __init__(self, spec: MapSpec, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._index = {column: index for index, column in enumerate(self._columns)}
        self._key = dict.fromkeys(spec.key)
        self.problems: list[SettingsError] = []
        self._zone = self._zone_named(spec.timezone)
        self._specs = (*spec.fields, *self._same_names(spec)) if spec.same_names else spec.fields

    def compile(self) -> Mapper | None:
        """Return the mapper, None if there are problems."""
        self._check_targets()
        keyed = self._key_targets()
        fields = []
        constants: dict[str, Json] = {}
        for spec in self._specs:
            self.problems += _contradictions(spec, key=spec.target in keyed.values())
            if not isinstance(spec.const, EllipsisType):
                constants[spec.target] = self._constant(spec, spec.const)
            elif spec.source is None:
                self.problems.append(problems.EmptyField(target=spec.target))
            elif spec.source not in self._index:
                self.problems.append(problems.UnknownColumn.among(spec.source, self._columns, spec.target))
            else:
                fields.append(self._field(spec, spec.source, key=spec.target in keyed.values()))
        if self.problems:
            return None
        by_target = {entry.target: entry for entry in fields}
        key = [by_target[target] for target in keyed.values()]
        return Mapper(self._columns, fields, key, constants, [spec.target for spec in self._specs])

    # -- the whole map -----------------------------------------------------------------------------------------------

    def _zone_named(self, name: str) -> tzinfo:
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            hint = N_("write for example Asia/Shanghai")
            self.problems.append(problems.UnknownName(N_("there is no time zone named {name}"), hint=hint, name=name))
            return ZoneInfo("UTC")

    def _same_names(self, spec: MapSpec) -> Iterator[FieldSpec]:
        taken = {field.source for field in spec.fields} | {field.target for field in spec.fields}
        return (FieldSpec(column, column) for column in self._columns if column not in taken)

    def _check_targets(self) -> None:
        seen: set[str] = set()
        for spec in self._specs:
            if spec.target in seen:
                self.problems.append(problems.DuplicateTarget(target=spec.target))
            if not _NAME.fullmatch(spec.target):
                self.problems.append(problems.BadTarget(target=ascii(spec.target)))
            seen.add(spec.target)

    def _key_targets(self) -> dict[str, str]:
        """Return key column → the first field that reads it."""
        if not self._key:
            self.problems.append(
                problems.UnmappedKey(N_("the flow has no key"), hint=N_("name the columns of the key: key: [COLUMN]"))
            )
        targets: dict[str, str] = {}
        for column in self._key:
            target = next((spec.target for spec in self._specs if spec.source == column), None)
            if column not in self._index:
                self.problems.append(problems.UnknownColumn.among(column, self._columns))
            elif target is None:
                self.problems.append(problems.UnmappedKey(column=column))
            else:
                targets[column] = target
        return targets

    # -- one field ---------------------------------------------------------------------------------------------------

    def _field(self, spec: FieldSpec, source: str, *, key: bool) -> Field:
        return Field(
            target=spec.target,
            source=source,
            index=self._index[source],
            conversion=self._conversion(spec),
            check=self._check(spec),
            trim=spec.trim,
            required=spec.required,
            default=self._constant(spec, spec.default),
            max_length=spec.max_length,
            # A required field that was emptied would be missing, so the reason for emptying it is the one to report.
            on_fail=OnFail.QUARANTINE if spec.required and spec.on_fail is OnFail.EMPTY else spec.on_fail,
            key=key,
        )

    def _conversion(self, spec: FieldSpec) -> Conversion:
        if spec.codes is not None:
            return Codes({source: self._constant(spec, value) for source, value in self._table(spec.codes).items()})
        if spec.date is not None:
            try:
                return dates.conversion(spec.date, self._zone)
            except dates.NoPatternError:
                self.problems.append(problems.BadDatePattern(target=spec.target, pattern=spec.date))
        if spec.decimal is not None:
            return Decimals(spec.decimal)
        if spec.integer:
            return Integers()
        return Booleans() if spec.boolean else Plain()

    def _table(self, codes: Mapping[str, Value] | str) -> Mapping[str, Value]:
        if not isinstance(codes, str):
            return codes
        if codes in CODE_LISTS:
            return code_list(codes).translations
        text = N_("there is no code list named {name}")
        self.problems.append(problems.UnknownName(text, name=codes, known=", ".join(CODE_LISTS)))
        return {}

    def _check(self, spec: FieldSpec) -> Check | None:
        if spec.check is None or spec.check in CHECKS:
            return CHECKS[spec.check] if spec.check else None
        text = N_("there is no check named {name}")
        self.problems.append(problems.UnknownName(text, name=spec.check, known=", ".join(sorted(CHECKS))))
        return None

    def _constant(self, spec: FieldSpec, value: Value) -> Json:
        try:
            return plain(value)
        except Unfit:
            self.problems.append(problems.BadConstant(target=spec.target, value=ascii(value)))
            return None


def _contradictions(spec: FieldSpec, *, key: bool) -> Iterator[SettingsError]:
    chosen = [name for name in _CONVERSIONS if getattr(spec, name) is not None and getattr(spec, name) is not False]
    if len(chosen) > 1:
        yield problems.BadField(target=spec.target, first=chosen[0], second=chosen[1])
    if spec.source is not None and not isinstance(spec.const, EllipsisType):
        yield problems.BadField(target=spec.target, first="from", second="const")
    if spec.required and spec.default is not None:
        yield problems.BadField(target=spec.target, first="required", second="default")
    if key and (spec.default is not None or spec.on_fail is OnFail.EMPTY):
        yield problems.UnstableKey(target=spec.target)
