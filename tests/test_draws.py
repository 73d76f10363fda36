"""Keyed draws: exact bits against big-integer arithmetic, then what one expects of chance.

The second implementation below follows the head of ``neuromorph.draws`` in
Python integers that never wrap.  Statistical tests have fixed keys and ask for
4σ, so they always give the same verdict.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromorph import draws

SEED = st.integers(0, 2**64 - 1)
WORD = st.integers(0, 2**32 - 1)


def mixed(x):
    """Two multiplications modulo 2**32 between three shifts."""
    assert 0 <= x < 2**32
    x = x ^ x // 2**16
    x = x * 0x7FEB352D % 2**32
    x = x ^ x // 2**15
    x = x * 0x846CA68B % 2**32
    return x ^ x // 2**16


def draw(seed, layer, step, index):
    """The 24 bits of one draw."""
    low, high = seed % 2**32, seed // 2**32
    of_layer = mixed(mixed(mixed(low) ^ high) ^ layer)
    of_weight = mixed(index ^ of_layer)
    of_step = mixed(mixed(step ^ 0x9E3779B9) ^ of_layer)
    return mixed(of_weight ^ of_step) // 2**8


@given(seed=SEED, layer=WORD, step=WORD, indices=st.lists(WORD, max_size=5))
def test_exact_bits(seed, layer, step, indices):
    found = draws.uniform(seed, layer, step, indices)
    assert found.dtype == np.float32
    wanted = [draw(seed, layer, step, i) for i in indices]
    assert (found.astype(np.float64) * 2**24).tolist() == wanted


@given(WORD)
def test_mixer(x):
    assert draws.mix(x) == mixed(x)


def test_mixer_is_the_published_one():
    # lowbias32 maps 0 to 0; inverted step by step it must give back what went in
    def inverse(y):
        y ^= y >> 16
        y = y * pow(0x846CA68B, -1, 2**32) % 2**32
        y ^= y >> 15 ^ y >> 30
        y = y * pow(0x7FEB352D, -1, 2**32) % 2**32
        return y ^ y >> 16

    rng = np.random.default_rng(0)
    for x in [0, 1, 2**32 - 1, *rng.integers(0, 2**32, 200).tolist()]:
        assert inverse(draws.mix(x)) == x
    assert draws.mix(0) == 0


@pytest.mark.parametrize("kind", [np.int32, np.uint32, np.int64, np.uint64, np.uint8])
def test_numpy_integers_are_keys_like_any_other(kind):
    found = draws.uniform(kind(200 % 128), kind(3), kind(7), np.array([0, 5], kind))
    assert np.array_equal(found, draws.uniform(200 % 128, 3, 7, [0, 5]))


def test_higher_bits_are_ignored():
    plain = draws.uniform(5, 1, 2, [3])
    assert draws.uniform(5 + 2**64, 1, 2, [3]) == plain
    assert draws.uniform(5, 1 + 2**32, 2, [3]) == plain
    assert draws.uniform(5, 1, 2 + 2**32, [3]) == plain
    assert draws.uniform(5, 1, 2, [3 + 2**32]) == plain
    assert draws.uniform(5, 1, 2, np.array([3 + 2**32])) == plain
    assert draws.uniform(-1, 1, 2, [3]) == draws.uniform(2**64 - 1, 1, 2, [3])


def test_keys_that_are_not_integers_are_refused():
    for arguments in [(1.5, 0, 0), (0, 1.5, 0), (0, 0, 1.5)]:
        with pytest.raises(TypeError):
            draws.uniform(*arguments, [0])


def test_parts_of_the_key_are_those_of_the_head():
    key = draws.layer_key(2**40 + 3, 5)
    assert key == mixed(mixed(mixed(3) ^ 2**8) ^ 5)
    assert draws.step_key(key, 9) == mixed(mixed(9 ^ 0x9E3779B9) ^ key)
    assert draws.weight_keys(key, [0, 1, 7]).tolist() == [mixed(i ^ key) for i in (0, 1, 7)]
    assert draws.weight_keys(key, [0]).dtype == np.uint32


@given(seed=SEED, layer=WORD, step=WORD, order=st.permutations(range(20)))
def test_draws_do_not_depend_on_the_order_of_visits(seed, layer, step, order):
    whole = draws.uniform(seed, layer, step, np.arange(20))
    assert np.array_equal(draws.uniform(seed, layer, step, order), whole[order])
    assert [draws.uniform(seed, layer, step, i).item() for i in range(20)] == whole.tolist()


def test_shape_follows_the_indices():
    assert draws.uniform(1, 2, 3, np.zeros((2, 0, 3), int)).shape == (2, 0, 3)
    assert draws.uniform(1, 2, 3, 4).shape == ()
    assert draws.uniform(1, 2, 3, []).shape == (0,)


# --- chance

COUNT = 200_000
INDICES = np.arange(COUNT)
KEYS = [(0, 0, 0), (1, 0, 1), (2**63, 7, 10**6), (12345, 2**32 - 1, 2**32 - 1)]


@pytest.mark.parametrize("key", KEYS)
def test_draws_lie_in_the_unit_interval_and_fill_it_evenly(key):
    values = draws.uniform(*key, INDICES).astype(np.float64)
    assert values.min() >= 0
    assert values.max() < 1
    bins = np.bincount((values * 256).astype(int), minlength=256)
    chi = ((bins - COUNT / 256) ** 2).sum() / (COUNT / 256)
    assert abs(chi - 255) < 4 * math.sqrt(2 * 255)  # χ² of 255 degrees of freedom
    assert abs(values.mean() - 0.5) < 4 * math.sqrt(1 / 12 / COUNT)
    bits = (values * 2**24).astype(np.int64)[:, None] >> np.arange(24) & 1
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / math.sqrt(COUNT)  # 24 tries


def pairs():
    """Two series of draws that must know nothing of each other."""
    base = draws.uniform(3, 1, 10, INDICES)
    return {
        "next weight": (base[:-1], base[1:]),
        "64 weights on": (base[:-64], base[64:]),
        "next step": (base, draws.uniform(3, 1, 11, INDICES)),
        "step 2**16 on": (base, draws.uniform(3, 1, 10 + 2**16, INDICES)),
        "next layer": (base, draws.uniform(3, 2, 10, INDICES)),
        "next seed": (base, draws.uniform(4, 1, 10, INDICES)),
        "seed 2**32 on": (base, draws.uniform(3 + 2**32, 1, 10, INDICES)),
        "layer and step swapped": (base, draws.uniform(3, 10, 1, INDICES)),
    }


@pytest.mark.parametrize("which", pairs())
def test_draws_of_other_keys_are_independent(which):
    a, b = (np.asarray(v, np.float64) for v in pairs()[which])
    count = len(a)
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / math.sqrt(count)
    cells = np.bincount((a * 16).astype(int) * 16 + (b * 16).astype(int), minlength=256)
    chi = ((cells - count / 256) ** 2).sum() / (count / 256)
    assert abs(chi - 255) < 4 * math.sqrt(2 * 255)
    assert (a == b).mean() < 1e-4  # chance: 2**-24


def test_one_weight_over_many_steps_is_uniform_too():
    values = np.array([draws.uniform(9, 0, step, 17).item() for step in range(5000)])
    bins = np.bincount((values * 16).astype(int), minlength=16)
    chi = ((bins - 5000 / 16) ** 2).sum() / (5000 / 16)
    assert abs(chi - 15) < 4 * math.sqrt(2 * 15)
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4 / math.sqrt(5000)
