"""TOML files with strict types: found, read, and what is wrong with them said in one sentence.

Types are those of msgspec.  A sentence names the key, what was given and what is
allowed; the latter is read off the type.
"""

from __future__ import annotations

import datetime
import os
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from neuromorph.errors import NeuromorphError, check_path

__all__ = ["checked", "parse_toml", "preset_names", "read_toml"]

MAX_FILE_BYTES = 1 << 20
LONGEST = 60  # characters of a value in a sentence
PLAIN = {inspect.StrType: str, inspect.BoolType: bool, inspect.DictType: dict}

_T = TypeVar("_T")


def preset_names(presets: Path) -> list[str]:
    """Names of the TOML files in a folder."""
    return sorted(p.stem for p in presets.glob("*.toml"))


def read_toml(
    name: str | os.PathLike[str],
    what: str,
    file: str,
    *,
    presets: Path,
    error: type[NeuromorphError],
) -> tuple[Path, str, dict[str, Any]]:
    """Read a file, or a preset by name: its path, text and content.

    Parameters
    ----------
    name : str or path
    what, file : str
        What it describes and what such a file is called: "chip", "chip file".
    presets : Path
        Folder of presets.
    error : type
        What to raise.

    Raises
    ------
    NeuromorphError
        Of the type ``error``: not found (lists the presets), not readable, too
        long, not TOML, or empty.
    """
    check_path(name, file, error)
    path = Path(name)
    try:
        if not path.is_file():
            known = preset_names(presets)
            if str(name) not in known:
                raise error(
                    f"no {what} {str(name)!r}: no such file; presets are {', '.join(known)}"
                )
            path = presets / f"{name}.toml"
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise error(f"{path} has {size} bytes; a {file} has at most {MAX_FILE_BYTES} bytes")
        data = path.read_bytes()
    except OSError as problem:  # also a name too long, or a folder that may not be entered
        raise error(f"cannot read {file} {path}: {problem.strerror}") from None
    try:
        text = data.decode()
    except UnicodeDecodeError as problem:
        raise error(f"{path} is not a TOML file: {problem}") from None
    content = parse_toml(text, error, str(path))
    if not content:
        raise error(f"{path} is empty")
    return path, text, content


def parse_toml(text: str, error: type[NeuromorphError], place: str = "this") -> dict[str, Any]:
    """Content of a TOML text.

    Raises
    ------
    NeuromorphError
        Of the type ``error``: it is none.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as problem:  # ValueError: also a number of 5000 digits
        raise error(f"{place} is not a TOML file: {problem}") from None


def checked(data: object, kind: type[_T], error: type[NeuromorphError], key: str = "") -> _T:
    """The data as the type says, which is read strictly.

    Parameters
    ----------
    data : tables, lists and plain values, as TOML gives them
    kind : type
    error : type
        What to raise.
    key : str
        Dotted key the data stand under.

    Raises
    ------
    NeuromorphError
        Of the type ``error``: an unknown or missing key, a wrong type or value.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as problem:
        if isinstance(problem.__cause__, error):  # raised by the type itself
            raise error(str(problem.__cause__)) from None
        raise error(_sentence(str(problem), data, inspect.type_info(kind), key)) from None


def _sentence(problem: str, data: Any, kind: inspect.Type, key: str) -> str:
    """msgspec's message with key, value and what is allowed."""
    text, _, place = problem.partition(" - at `")
    for field, index in re.findall(r"\.([^.\[\]`]+)|\[(\d+|\.\.\.)\]", place):
        step: Any = field or (int(index) if index.isdigit() else _unfit(data, kind))
        kind, data = _inside(kind, data, step), data[step]
        key = f"{key}[{step}]" if isinstance(step, int) else ".".join(filter(None, (key, step)))
    named = re.fullmatch(r"Object (contains unknown|missing required) field `(.*)`", text)
    if named is None:
        need = "that is out of range" if "out of range" in text else f"it must be {_allowed(kind)}"
        return f"{key or 'this'} is {_given(data)}; {need}"
    wrong = ".".join(filter(None, (key, named[2])))
    if named[1].startswith("missing"):
        return f"key {wrong!r} is missing; it must be {_allowed(_inside(kind, data, named[2]))}"
    return f"unknown key {wrong!r}; keys {f'of {key}' if key else 'here'} are {_keys(kind, data)}"


def _options(kind: inspect.Type) -> list[inspect.Type]:
    """The types of a union without None, which TOML does not have; of others the one."""
    if isinstance(kind, inspect.Metadata):
        return _options(kind.type)
    if isinstance(kind, inspect.UnionType):
        return [o for o in kind.types if not isinstance(o, inspect.NoneType)]
    return [kind]


def _struct(kind: inspect.Type, data: Any) -> inspect.StructType | None:
    """The table that is meant, if it is one."""
    for option in _options(kind):
        if isinstance(option, inspect.StructType) and (
            option.tag_field is None or data.get(option.tag_field) == option.tag
        ):
            return option
    return None


def _inside(kind: inspect.Type, data: Any, step: str | int) -> inspect.Type:
    """Type of a key or of an element."""
    struct = _struct(kind, data) if isinstance(data, dict) else None
    for field in () if struct is None else struct.fields:
        if field.encode_name == step:
            return field.type
    for option in _options(kind):
        if isinstance(option, inspect.StructType) and option.tag_field == step:
            return inspect.LiteralType(_tags(kind))
        if isinstance(option, inspect.DictType):
            return option.value_type
        if isinstance(option, inspect.TupleType) and isinstance(step, int):
            return option.item_types[step]
        if isinstance(option, (inspect.ListType, inspect.VarTupleType)):
            return option.item_type
    return inspect.AnyType()


def _unfit(data: Any, kind: inspect.Type) -> Any:
    """The first key of a table whose value does not fit; msgspec does not name it."""
    wanted = PLAIN.get(type(_inside(kind, data, "")), object)
    return next((key for key, value in data.items() if not isinstance(value, wanted)), "")


def _tags(kind: inspect.Type) -> tuple[Any, ...]:
    return tuple(o.tag for o in _options(kind) if isinstance(o, inspect.StructType))


def _keys(kind: inspect.Type, data: Any) -> str:
    """Keys that a table may have."""
    struct = _struct(kind, data)
    if struct is None:
        return "others"
    tag = [struct.tag_field] if struct.tag_field else []
    return ", ".join([*tag, *(f.encode_name for f in struct.fields)])


def _given(value: object) -> str:
    """A value as a sentence names it."""
    if isinstance(value, dict):
        return "a table"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    if isinstance(value, (datetime.date, datetime.time)):
        text = str(value)
    if len(text) > LONGEST:
        return f"a list of {len(value)}" if isinstance(value, list) else f"{text[:LONGEST]}…"
    return text


def _allowed(kind: inspect.Type) -> str:
    """What a type takes, in words."""
    if isinstance(kind, inspect.Metadata):
        found = (kind.extra_json_schema or {}).get("description")
        return str(found) if found else _allowed(kind.type)
    options = _options(kind)
    if len(options) > 1:
        tags = [o for o in options if isinstance(o, inspect.StructType) and o.tag_field]
        words = [_allowed(o) for o in options if o not in tags]
        if tags:
            words.append(f"a table of {tags[0].tag_field} {_either(_tags(kind))}")
        return (", or " if "," in words[0] else " or ").join(words)
    (kind,) = options
    if isinstance(kind, inspect.IntType):
        return f"a whole number{_range(kind)}"
    if isinstance(kind, inspect.FloatType):
        return f"a number{_range(kind)}"
    if isinstance(kind, inspect.StrType):
        return f"text{_length(kind.min_length, kind.max_length, 'characters')}"
    if isinstance(kind, inspect.LiteralType):
        return _either(kind.values)
    if isinstance(kind, inspect.BoolType):
        return "true or false"
    if isinstance(kind, inspect.StructType):
        needed = [f.encode_name for f in kind.fields if f.required]
        return f"a table with {', '.join(needed)}" if needed else "a table"
    if isinstance(kind, inspect.TupleType):
        items = [_allowed(item) for item in kind.item_types]
        same = f", each {items[0]}" if len(set(items)) == 1 else f": {', '.join(items)}"
        return f"a list of {len(items)}{same}"
    if isinstance(kind, (inspect.ListType, inspect.VarTupleType)):
        length = _length(kind.min_length, kind.max_length, "elements")
        return f"a list{length}, each {_allowed(kind.item_type)}"
    return "a table"


def _either(values: tuple[Any, ...]) -> str:
    names = [repr(value) for value in sorted(values)]
    return f"one of {', '.join(names)}" if len(names) > 2 else " or ".join(names)


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f", {_number(kind.ge)} to {_number(kind.le)}"
    bounds = ("at least", kind.ge), ("above", kind.gt), ("at most", kind.le), ("below", kind.lt)
    found = [f"{word} {_number(bound)}" for word, bound in bounds if bound is not None]
    return f", {' and '.join(found)}" if found else ""


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _length(least: int | None, most: int | None, what: str) -> str:
    if most is not None:
        return f" of {f'{least} to' if least else 'at most'} {most} {what}"
    return " that is not empty" if least else ""
