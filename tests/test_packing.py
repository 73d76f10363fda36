"""Packed levels against bit strings written out by hand, and every refusal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuromorph.errors import LevelError
from neuromorph.packing import pack, packed_size, unpack

BITS = [1, 2, 3, 4, 5, 6, 7, 8, 9]


def allowed(n):
    return [-1, 1] if n == 0 else list(range(-(2 ** (n - 1)), 2 ** (n - 1) + 1))


@st.composite
def arrays(draw):
    n = draw(st.integers(0, 8))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7))
    return n, draw(hnp.arrays(np.int16, shape, elements=st.sampled_from(allowed(n))))


def by_hand(levels, n):
    """Bytes of one long binary number: level i is its code shifted by i · bits."""
    number = 0
    for i, level in enumerate(np.ravel(levels).tolist()):
        number |= allowed(n).index(level) << (i * BITS[n])
    return number.to_bytes((np.size(levels) * BITS[n] + 7) // 8, "little")


@given(arrays())
def test_bytes_are_codes_end_to_end(case):
    n, levels = case
    packed = pack(levels, n)
    assert packed.dtype == np.uint8
    assert packed.ndim == 1
    assert packed.tobytes() == by_hand(levels, n)
    assert packed_size(levels.size, n) == len(packed)


@given(arrays())
def test_round_trip(case):
    n, levels = case
    back = unpack(pack(levels, n), n, levels.shape)
    assert back.dtype == np.dtype(np.int16 if n == 8 else np.int8)
    assert np.array_equal(back, levels)


def test_ternary_codes():
    # codes 0, 1, 2, 2 in two bits each: 10 10 01 00
    assert pack(np.array([-1, 0, 1, 1]), 1).tolist() == [0b10100100]
    assert pack(np.array([1, -1, 1]), 0).tolist() == [0b101]
    assert pack(np.array([[-128, 128]]), 8).tolist() == [0, 0, 0b10]  # codes 0 and 256, nine bits


def test_views_and_order_of_the_array():
    levels = np.arange(12).reshape(3, 4) % 3 - 1
    for view in (levels.T, levels[::-1], levels[:, ::2], np.asfortranarray(levels)):
        assert pack(view, 1).tobytes() == by_hand(view, 1)
        strided = np.repeat(pack(view, 1), 2)[::2]
        assert np.array_equal(unpack(strided, 1, view.shape), view)


@given(arrays(), st.data())
def test_any_bytes_give_levels_or_one_error(case, data):
    n, levels = case
    size = packed_size(levels.size, n)
    noise = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
    try:
        back = unpack(noise, n, levels.shape)
    except LevelError:
        number = int.from_bytes(noise.tobytes(), "little")
        codes = [number >> (i * BITS[n]) & (2 ** BITS[n] - 1) for i in range(levels.size)]
        assert max(codes, default=0) >= len(allowed(n)) or number >> (levels.size * BITS[n])
    else:
        assert pack(back, n).tobytes() == noise.tobytes()


@pytest.mark.parametrize(
    ("data", "n", "shape", "sentence"),
    [
        (
            np.zeros(1, np.uint8),
            1,
            (5,),
            "packed levels are uint8 of shape [1]; 5 levels of Z_1 take 2 bytes",
        ),
        (
            np.zeros(3, np.uint8),
            1,
            (5,),
            "packed levels are uint8 of shape [3]; 5 levels of Z_1 take 2 bytes",
        ),
        (
            np.zeros(2, np.int8),
            1,
            (5,),
            "packed levels are int8 of shape [2]; 5 levels of Z_1 take 2 bytes",
        ),
        (
            np.zeros((1, 2), np.uint8),
            1,
            (5,),
            "packed levels are uint8 of shape [1, 2]; 5 levels of Z_1 take 2 bytes",
        ),
        (
            np.zeros(0, np.uint8),
            1,
            (2**32, 2**32),  # 2**64 wraps to 0 in 64 bits
            f"packed levels are uint8 of shape [0]; {2**64} levels of Z_1 take {2**62} bytes",
        ),
        (
            np.array([0b11000000], np.uint8),
            1,
            (3,),
            "packed levels end in fill bits that are not zero",
        ),
        (
            np.array([0b00110000], np.uint8),
            1,
            (4,),
            "packed code 3 at position 2 stands for no level of Z_1",
        ),
        (
            np.array([1, 3], np.uint8),
            8,
            (1,),
            "packed levels end in fill bits that are not zero",
        ),
        (
            np.array([1, 1], np.uint8),
            8,
            (1,),
            "packed code 257 at position 0 stands for no level of Z_8",
        ),
    ],
)
def test_every_refusal_of_unpack(data, n, shape, sentence):
    with pytest.raises(LevelError) as error:
        unpack(data, n, shape)
    assert str(error.value) == sentence


def test_pack_refuses_what_is_no_level():
    with pytest.raises(LevelError, match=r"^array to pack has the value 2 at \[1\]; levels of Z_1"):
        pack(np.array([0, 2]), 1)
    with pytest.raises(LevelError, match=r"^array to pack has dtype float64; levels of Z_1 are"):
        pack(np.zeros(3), 1)
    with pytest.raises(LevelError, match=r"^N of Z_N is 17;"):
        packed_size(1, 17)
