"""``toml``: sentences about files and data that do not fit a type, every kind of type once."""

import datetime
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from neuromorph.errors import ChipError, RecipeError
from neuromorph.toml import checked, parse_toml, preset_names, read_toml


class Round(msgspec.Struct, tag_field="form", tag="round", forbid_unknown_fields=True):
    radius: float


class Square(msgspec.Struct, tag_field="form", tag="square", forbid_unknown_fields=True):
    side: float
    turned: bool = False


class Free(msgspec.Struct, forbid_unknown_fields=True):
    any: int = 0


class Whole(msgspec.Struct, forbid_unknown_fields=True):
    shape: Round | Square
    name: Annotated[str, Meta(max_length=3)] = ""
    title: Annotated[str, Meta(pattern="^[a-z]+$", description="small letters")] = "a"
    count: Annotated[int, Meta(ge=2)] = 2
    share: Annotated[float, Meta(gt=0, lt=0.5)] | None = None
    mode: Literal["a", "b", "c"] | int = "a"
    pairs: list[tuple[int, str]] = []
    some: Annotated[list[int], Meta(min_length=1)] = msgspec.field(default_factory=lambda: [1])
    words: dict[str, str] = {}
    flags: dict[str, bool] = {}
    free: Free | None = None
    shapes: tuple[Round | Square, ...] = ()
    odd: int = 1

    def __post_init__(self):
        if self.odd % 2 == 0:
            raise RecipeError(f"odd is {self.odd}")


SHAPE = {"form": "round", "radius": 1.0}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"nme": 1}, "unknown key 'nme'; keys here are shape, name, title, count, share, mode, "
         "pairs, some, words, flags, free, shapes, odd"),
        ({"shape": {"form": "round"}}, "key 'shape.radius' is missing; it must be a number"),
        ({"shape": {"radius": 1.0}},
         "key 'shape.form' is missing; it must be 'round' or 'square'"),
        ({"shape": {"form": "oval"}}, "shape.form is 'oval'; it must be 'round' or 'square'"),
        ({"shape": {"form": "square", "radius": 1.0}},
         "unknown key 'shape.radius'; keys of shape are form, side, turned"),
        ({"shape": {"form": "square", "side": 1, "turned": 1}},
         "shape.turned is 1; it must be true or false"),
        ({"shape": 3}, "shape is 3; it must be a table of form 'round' or 'square'"),
        ({"shapes": [SHAPE, {"form": "round", "radius": "1"}]},
         "shapes[1].radius is '1'; it must be a number"),
        ({"name": "abcd"}, "name is 'abcd'; it must be text of at most 3 characters"),
        ({"name": datetime.date(2020, 1, 2)},
         "name is 2020-01-02; it must be text of at most 3 characters"),
        ({"title": "A"}, "title is 'A'; it must be small letters"),
        ({"count": 1}, "count is 1; it must be a whole number, at least 2"),
        ({"count": True}, "count is true; it must be a whole number, at least 2"),
        ({"share": 0.5}, "share is 0.5; it must be a number, above 0 and below 0.5"),
        ({"mode": "d"}, "mode is 'd'; it must be one of 'a', 'b', 'c', or a whole number"),
        ({"pairs": [[1, "a"], [1]]},
         "pairs[1] is [1]; it must be a list of 2: a whole number, text"),
        ({"pairs": [[1, 2]]}, "pairs[0][1] is 2; it must be text"),
        ({"some": []}, "some is []; it must be a list that is not empty, each a whole number"),
        ({"some": "a" * 70}, f"some is '{'a' * 59}…; it must be a list that is not empty, each a "
         "whole number"),
        ({"name": list(range(50))},
         "name is a list of 50; it must be text of at most 3 characters"),
        ({"words": {"a": "x", "b": 3}}, "words.b is 3; it must be text"),
        ({"flags": {"a": True, "b": "no"}}, "flags.b is 'no'; it must be true or false"),
        ({"words": 3}, "words is 3; it must be a table"),
        ({"free": 3}, "free is 3; it must be a table"),
        ({"free": {"some": 3}}, "unknown key 'free.some'; keys of free are any"),
        ({"share": 10**400}, f"share is 1{'0' * 59}…; that is out of range"),
        ({"odd": 2}, "odd is 2"),
    ],
)  # fmt: skip
def test_one_sentence_with_key_value_and_what_is_allowed(change, says):
    with pytest.raises(RecipeError) as caught:
        checked({"shape": SHAPE, **change}, Whole, RecipeError)
    assert str(caught.value) == says


def test_the_key_that_data_stand_under_comes_first():
    for data, says in (
        ({"shape": 3}, "a.b[0].shape is 3; it must be a table of form 'round' or 'square'"),
        ({}, "key 'a.b[0].shape' is missing; it must be a table of form 'round' or 'square'"),
        (3, "a.b[0] is 3; it must be a table with shape"),
    ):
        with pytest.raises(ChipError) as caught:
            checked(data, Whole, ChipError, "a.b[0]")
        assert str(caught.value) == says
    with pytest.raises(ChipError, match=r"^this is \[\]; it must be a table with shape$"):
        checked([], Whole, ChipError)
    assert checked({"shape": SHAPE}, Whole, ChipError) == Whole(shape=Round(radius=1.0))


def test_a_preset_or_a_file(tmp_path):
    presets = tmp_path / "presets"
    presets.mkdir()
    (presets / "one.toml").write_text("a = 1")
    mine = tmp_path / "mine.toml"
    mine.write_text("b = 2")

    def read(name):
        return read_toml(name, "thing", "thing file", presets=presets, error=ChipError)

    assert preset_names(presets) == ["one"]
    assert read("one") == (presets / "one.toml", "a = 1", {"a": 1})
    assert read(mine) == (mine, "b = 2", {"b": 2})
    for content, says in (
        (b"", f"{mine} is empty"),
        (b"a = \xff", f"{mine} is not a TOML file: 'utf-8' codec can't decode"),
        (b"a = " + b"9" * 5000, f"{mine} is not a TOML file: Exceeds the limit"),
        (b"#" * ((1 << 20) + 1), f"{mine} has 1048577 bytes; a thing file has at most 1048576"),
    ):
        mine.write_bytes(content)
        with pytest.raises(ChipError) as caught:
            read(mine)
        assert str(caught.value).startswith(says)
    for name in ("two", "a\0b", tmp_path):
        with pytest.raises(ChipError, match=r"^no thing .*: no such file; presets are one$"):
            read(name)
    with pytest.raises(ChipError, match=r"^thing file is 3; give a name or a path$"):
        read(3)
    with pytest.raises(RecipeError, match=r"^this is not a TOML file: "):
        parse_toml("a = = 1", RecipeError)
