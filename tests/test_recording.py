"""Blocks and spikes of a trace: what zlib, HDF5 and NumPy make of what the kernel wrote."""

import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromorph.kernels import recording as kernel
from neuromorph.reference import recording as reference

MODULES = [kernel, reference]
FILTERS = {"compression": "gzip", "shuffle": True, "fletcher32": True}


def columns(rng, rows):
    """Columns of every kind that matters: constant, sorted, repeating, random, short of values."""
    period = rng.integers(0, 1 << 32, int(rng.integers(1, 40)))
    geometric = np.minimum(rng.geometric(0.02, rows), 1 << 14)
    yield np.full(rows, rng.integers(-128, 128), "<i8")
    yield np.cumsum(rng.integers(0, 3, rows)).astype("<i8")
    yield np.resize(period, rows).astype("<u4")
    yield np.where(rng.random(rows) < 0.02, 0xFFFFFFFF, rng.integers(0, 5000, rows)).astype("<u4")
    yield rng.choice([-1, 1], rows).astype("<i2")
    yield rng.integers(-(1 << 63), 1 << 63, rows, dtype="<i8")
    yield rng.integers(0, 256, rows, dtype=np.uint8)
    # the counts of these values grow like Fibonacci's numbers, so their codes are long
    yield np.repeat(np.arange(len(geometric)), geometric)[:rows].astype("<u2")
    steps = np.cumsum([1, 1, *(round(1.618**k) for k in range(2, 24))])
    yield np.searchsorted(steps, rng.integers(0, steps[-1], rows)).astype("<u2")


def as_bytes(column):
    return column.view(np.uint8).reshape(len(column), column.dtype.itemsize)


@pytest.mark.parametrize("module", MODULES)
@given(st.integers(0, 1 << 32), st.sampled_from([1, 2, 3, 7, 100, 5000, 70_000]), st.data())
def test_zlib_reads_what_was_shuffled(module, seed, rows, data):
    rng = np.random.default_rng(seed)
    if module is reference:
        rows = min(rows, 100)  # its checksum is a loop
    filled = data.draw(st.integers(0, rows))
    encoder = module.Encoder(rows)
    for column in columns(rng, filled):
        block = encoder.block(as_bytes(column))
        whole = np.zeros((rows, column.dtype.itemsize), np.uint8)
        whole[:filled] = as_bytes(column)
        stream = zlib.decompressobj()
        assert stream.decompress(block) == whole.T.tobytes()  # Adler-32 is compared, too
        assert len(stream.unused_data) == 4
        assert stream.unused_data == reference.fletcher32(block[:-4]).to_bytes(4, "little")


@pytest.mark.parametrize("module", MODULES)
def test_hdf5_reads_a_block_and_its_checksum(module, tmp_path):
    rng = np.random.default_rng(1)
    for column in columns(rng, 3000):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            data = file.create_dataset(
                "a", (3000,), column.dtype, maxshape=(None,), chunks=(4096,), **FILTERS
            )
            block = bytearray(module.Encoder(4096).block(as_bytes(column)))
            data.id.write_direct_chunk((0,), bytes(block))
            assert np.array_equal(data[:], column)
            block[-1] ^= 1
            data.id.write_direct_chunk((0,), bytes(block))
            data.id.refresh()
            with pytest.raises(OSError, match=r"checksum|filter"):
                data[:]


def test_blocks_are_no_larger_than_those_of_zlib():
    """On what traces hold; random bytes may take a hundredth more than they are."""
    rng = np.random.default_rng(2)
    for column in columns(rng, 65_536):
        block = kernel.Encoder(65_536).block(as_bytes(column))
        wanted = len(reference.zlib.compress(as_bytes(column).T.tobytes(), 1))
        assert len(block) <= min(1.15 * wanted + 100, 1.01 * column.nbytes + 200)


def test_columns_of_records_are_read_in_place():
    records = np.zeros(1000, [("a", "<u2"), ("b", "<i8")])
    records["b"] = np.random.default_rng(3).integers(0, 1 << 40, 1000)
    inside = records.view(np.uint8).reshape(1000, 10)[:, 2:]
    encoder = kernel.Encoder(1000)
    assert encoder.block(inside) == encoder.block(as_bytes(records["b"].copy()))


def test_an_encoder_refuses_what_it_cannot_hold():
    with pytest.raises(ValueError, match="rows is 0; must be 1 to"):
        kernel.Encoder(0)
    encoder = kernel.Encoder(10)
    for shape in ((11, 4), (10, 3)):
        with pytest.raises(ValueError, match="cannot hold values of shape"):
            encoder.block(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="no neighbours"):
        encoder.block(np.zeros((10, 8), np.uint8)[:, ::2])


@given(st.integers(0, 1 << 32), st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_spikes_are_found_in_order(seed, sizes):
    rng = np.random.default_rng(seed)
    edges = np.cumsum([0, *sizes])
    levels = rng.choice([0, 0, 1, -3], (5, edges[-1])).astype(np.int16)
    samples, places = np.nonzero(levels)
    found = {}
    for module in MODULES:
        made = [np.zeros(len(samples), d) for d in ("u4", "u2", "u4", "i2")]
        assert module.find_spikes(levels, edges, *made) == len(samples)
        found[module] = made
    sample, layer, neuron, level = found[kernel]
    assert np.array_equal(sample, samples)
    assert np.array_equal(edges[layer] + neuron, places)
    assert (edges[layer + 1] > places).all()
    assert np.array_equal(level, levels[samples, places])
    assert all(np.array_equal(a, b) for a, b in zip(found[kernel], found[reference]))


def test_spikes_need_room():
    made = [np.zeros(3, d) for d in ("u4", "u2", "u4", "i2")]
    with pytest.raises(ValueError, match="no room"):
        kernel.find_spikes(np.ones((2, 2), np.int16), np.array([0, 2]), *made)
    with pytest.raises(ValueError, match="edges are not"):
        kernel.find_spikes(np.ones((2, 2), np.int16), np.array([0, 3]), *made)
