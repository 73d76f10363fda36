"""Z_N as storage, and the sentence of every error; the equations are in test_paper.py."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromorph.errors import LevelError, NeuromorphError
from neuromorph.levels import Levels, dst, phi, thresholds, transition_probability, window


@pytest.mark.parametrize("n", range(9))
def test_storage(n):
    space = Levels(n)
    allowed = {-1, 1} if n == 0 else set(range(-(2 ** (n - 1)), 2 ** (n - 1) + 1))
    assert space.levels.tolist() == sorted(allowed)
    assert space.maximum == max(allowed)
    assert len(allowed) <= 2**space.bits < 2 * len(allowed), "fewest whole bits"
    assert space.levels.dtype == space.dtype
    assert np.iinfo(space.dtype).min <= min(allowed)
    assert max(allowed) <= np.iinfo(space.dtype).max
    assert space.dtype.itemsize == (1 if max(allowed) < 128 else 2), "smallest"


def test_a_space_is_a_value():
    assert Levels(2) == Levels(n=2) == Levels(np.int64(2)) != Levels(3)
    assert type(Levels(np.int64(2)).n) is int
    assert len({Levels(1), Levels(1), Levels(0)}) == 2
    assert repr(Levels(1)) == "Levels(n=1)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Levels(1).n = 2


@pytest.mark.parametrize("n", [True, 1.0, "1", None, [1]])
def test_n_must_be_an_integer(n):
    with pytest.raises(LevelError, match=r"^N of Z_N is .*; it must be an integer from 0 to 16$"):
        Levels(n)


@pytest.mark.parametrize("n", [-1, 17, 10**30])
def test_n_must_be_in_range(n):
    with pytest.raises(LevelError, match=rf"^N of Z_N is {n}; it must be from 0 to 16$"):
        Levels(n)


def test_level_error_is_what_a_caller_would_guess():
    assert issubclass(LevelError, ValueError)
    assert issubclass(LevelError, NeuromorphError)


@pytest.mark.parametrize("n", range(9))
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int64, np.uint64])
def test_check_returns_a_contiguous_array_of_the_storage_type(n, dtype):
    space, limit = Levels(n), np.iinfo(dtype)
    allowed = [k for k in space.levels.tolist() if limit.min <= k <= limit.max]
    given = np.array([allowed, allowed], dtype)[:, ::-1]
    checked = space.check(given, "array")
    assert checked.dtype == space.dtype
    assert checked.flags.c_contiguous
    assert checked.tolist() == [allowed[::-1]] * 2


@given(n=st.integers(0, 8), values=st.lists(st.integers(-(2**70), 2**70), max_size=8))
def test_check_takes_levels_and_nothing_else(n, values):
    allowed = {-1, 1} if n == 0 else set(range(-(2 ** (n - 1)), 2 ** (n - 1) + 1))
    array = values if values else np.zeros(0, int)
    if set(values) <= allowed:
        assert Levels(n).check(array, "array").tolist() == values
    else:
        with pytest.raises(LevelError, match=r"^array has "):
            Levels(n).check(array, "array")


@pytest.mark.parametrize(
    ("n", "levels", "sentence"),
    [
        (1, [0.0, 1.0], "it has dtype float64; levels of Z_1 are integers"),
        (1, [True], "it has dtype bool; levels of Z_1 are integers"),
        (1, ["1"], "it has dtype <U1; levels of Z_1 are integers"),
        (1, [2**70], "it has dtype object; levels of Z_1 are integers"),
        (1, [[1, 0], [0, 2]], "it has the value 2 at [1, 1]; levels of Z_1 are from -1 to 1"),
        (3, [4, -5], "it has the value -5 at [1]; levels of Z_3 are from -4 to 4"),
        (0, [1, 0, 2], "it has the value 0 at [1]; levels of Z_0 are -1 or +1"),
        (8, 129, "it has the value 129 at []; levels of Z_8 are from -128 to 128"),
        (1, [[1], [1, 0]], "it has rows of different lengths; levels are an array"),
    ],
)
def test_check_says_what_is_wrong_and_where(n, levels, sentence):
    with pytest.raises(LevelError) as error:
        Levels(n).check(levels, "it")
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: thresholds(1, -0.1), "window r = -0.1 with H = 1.0; need 0 <= r < H"),
        (lambda: thresholds(2, 1.0), "window r = 1.0 with H = 1.0; need 0 <= r < H"),
        (lambda: thresholds(2, 0.5, 0.5), "window r = 0.5 with H = 0.5; need 0 <= r < H"),
        (lambda: thresholds(1, np.nan), "window r = nan with H = 1.0; need 0 <= r < H"),
        (lambda: thresholds(1, np.inf), "window r = inf with H = 1.0; need 0 <= r < H"),
        (lambda: thresholds(2, 0.5, np.inf), "window r = 0.5 with H = inf; need 0 <= r < H"),
        (lambda: thresholds(9, 0.5), "N of Z_N is 9; it must be from 0 to 8 here"),
        (lambda: phi([0.0], 9), "N of Z_N is 9; it must be from 0 to 8 here"),
        (
            lambda: phi([0.0, np.nan], 1),
            "a pre-activation is not a number, so no level stands for it",
        ),
        (
            lambda: phi([np.nan], 0),
            "a pre-activation is not a number, so no level stands for it",
        ),
        (lambda: window([0.0], 1, a=0.0), "pulse half-width a = 0.0; need a > 0"),
        (lambda: window([0.0], 1, a=np.nan), "pulse half-width a = nan; need a > 0"),
        (
            lambda: window([0.0], 1, pulse="round"),
            "pulse 'round'; choose 'rectangular' or 'triangular'",
        ),
        (
            lambda: window([0.0], 1, normalize="area"),
            "normalize 'area'; choose 'jump' or 'unit'",
        ),
        (
            lambda: transition_probability([0.1], 1.0, transition="linear"),
            "transition 'linear'; choose 'tanh' or 'unbiased'",
        ),
        (lambda: transition_probability([0.1], 1.0, m=0.0), "steepness m = 0.0; need m > 0"),
        (lambda: dst([0], [0.1], [0.5], 1, m=-3), "steepness m = -3; need m > 0"),
        (
            lambda: dst([0, 2], [0.1, 0.1], [0.5, 0.5], 1),
            "weight has the value 2 at [1]; levels of Z_1 are from -1 to 1",
        ),
        (
            lambda: dst([0], [0.1], [0.5], 0),
            "weight has the value 0 at [0]; levels of Z_0 are -1 or +1",
        ),
        (
            lambda: dst([0.5], [0.1], [0.5], 1),
            "weight has dtype float64; levels of Z_1 are integers",
        ),
    ],
)
def test_impossible_settings_are_refused(call, sentence):
    with pytest.raises(LevelError) as error:
        call()
    assert str(error.value) == sentence


@pytest.mark.parametrize("n", range(9))
def test_shapes_and_storage_types_are_kept(n):
    x = np.zeros((2, 0, 3))
    assert phi(x, n).shape == window(x, n).shape == (2, 0, 3)
    assert phi(0.3, n).shape == ()
    levels = np.full((2, 3), Levels(n).maximum)
    moved = dst(levels, np.zeros((2, 3)), np.zeros((2, 3)), n)
    assert moved.shape == (2, 3)
    assert phi(x, n).dtype == moved.dtype == Levels(n).dtype


def test_integer_pre_activations_do_not_wrap():
    assert phi(np.array([-128, 127], np.int8), 1).tolist() == [-1, 1]  # −(−128) is −128 in int8
    assert phi(np.array([0, 255], np.uint8), 2).tolist() == [0, 2]
