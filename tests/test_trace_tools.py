"""Comparing, repacking and replaying traces.

A trace is changed in one place with h5py, and the difference must be found
there: table, column and row.  What may differ (time of creation, environment,
compression) must not be found.
"""

import shutil

import h5py
import numpy as np
import pytest

import neuromorph as nm
from neuromorph.data import load_data
from neuromorph.errors import TraceError
from neuromorph.events import ACTIONS
from neuromorph.kernels import timed
from neuromorph.trace import Recorder, Trace, difference, repack, replay, validate

MODES = [
    ("timed", "packets"), ("timed", "spikes"), ("timed", "counts"), ("count", "spikes"),
    ("count", "counts"), ("reference", "spikes"),
]  # fmt: skip


@pytest.fixture(scope="module")
def mapping():
    return nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))


@pytest.fixture(scope="module")
def traces(mapping, tmp_path_factory):
    folder, data = tmp_path_factory.mktemp("traces"), load_data("digits")
    found = {}
    for mode, detail in MODES:
        path = found[mode, detail] = folder / f"{mode}-{detail}.h5"
        nm.simulate(mapping, data.test_images[:5], mode=mode, labels=data.test_labels[:5],
                    trace=path, detail=detail)  # fmt: skip
    return found


def differ(first, second):
    with Trace(first) as one, Trace(second) as other:
        return difference(one, other)


def changed(path, target, change):
    """A copy without its seal, in which ``change`` was done."""
    shutil.copy(path, target)
    with open(target, "r+b") as file:
        file.write(bytes(512))
    with h5py.File(target, "r+") as file:
        change(file)
    return target


# --- differences


@pytest.mark.parametrize("key", MODES)
def test_the_same_run_twice_is_the_same(key, traces, mapping, tmp_path):
    data, (mode, detail) = load_data("digits"), key
    nm.simulate(mapping, data.test_images[:5], mode=mode, labels=data.test_labels[:5],
                trace=tmp_path / "again.h5", detail=detail)  # fmt: skip
    assert differ(traces[key], tmp_path / "again.h5") is None

    def other(file):
        file.attrs["created"] = np.bytes_("2000-01-01T00:00:00+00:00")
        file["meta"].attrs["environment"] = np.bytes_('{"python": "4.0"}')

    assert differ(traces[key], changed(traces[key], tmp_path / "b.h5", other)) is None


def add(name, at, number=1):
    def change(file):
        values = file[name][:]
        values[at] += number
        file[name][:] = values

    return change


@pytest.mark.parametrize(
    ("name", "at", "table", "column"),
    [
        ("samples/label", 3, "samples", "label"),
        ("samples/outputs", (2, 7), "samples", "outputs 7"),
        ("samples/finish", 4, "samples", "finish"),
        ("counts/values", (1, 2, 5), "counts", None),
        ("spikes/level", 777, "spikes", "level"),
        ("packets/payload", 5000, "packets", "payload"),
        ("packets/delivered", 0, "packets", "delivered"),
    ],
)
def test_a_change_is_found_where_it_is(name, at, table, column, traces, tmp_path, monkeypatch):
    monkeypatch.setattr("neuromorph.trace.differences.BLOCK_ROWS", 512)
    path = traces["timed", "packets"]
    other = changed(path, tmp_path / "b.h5", add(name, at))
    found = differ(path, other)
    row = at[0] if isinstance(at, tuple) else at
    assert (found.table, found.row) == (table, row)
    assert found.second == found.first + 1
    if column is None:
        column = f"{list(ACTIONS)[5]} of conv1 (row 2)"
    assert found.column == column
    assert str(found) == f"{table}, {column}, row {row}: {found.first} and {found.second}"


def test_the_first_of_several_changes_is_found(traces, tmp_path):
    def change(file):
        add("spikes/level", 900)(file)
        add("spikes/neuron", 901)(file)
        add("packets/sent", 3)(file)

    path = traces["timed", "packets"]
    found = differ(path, changed(path, tmp_path / "b.h5", change))
    assert (found.table, found.column, found.row) == ("spikes", "level", 900)


def test_other_time_and_other_lengths(traces, tmp_path):
    path = traces["timed", "packets"]
    found = differ(path, changed(path, tmp_path / "b.h5", add("counts/active_ticks", 2)))
    assert (found.table, found.column, found.row) == ("counts", "active_ticks", None)

    def shorten(file):
        for column in file["packets"].values():
            column.resize(100, axis=0)
        flushed = file["samples"].attrs["flushed"]
        flushed[2] = 100
        file["samples"].attrs.modify("flushed", flushed)

    other = changed(path, tmp_path / "c.h5", shorten)
    found = differ(path, other)
    assert (found.table, found.row, found.first, found.second) == (
        "packets", 100, "a row", "no such row",
    )  # fmt: skip
    assert differ(other, path).first == "no such row"


def test_another_detail_mode_or_network(traces, tmp_path):
    found = differ(traces["timed", "packets"], traces["timed", "spikes"])
    assert (found.table, found.column) == ("about", "detail")
    found = differ(traces["timed", "spikes"], traces["count", "spikes"])
    assert (found.column, found.first, found.second) == ("mode", "timed", "count")

    def other(file):
        text = bytes(file["meta"].attrs["network"]).decode()
        with Trace(traces["count", "counts"]) as trace:
            text = text.replace(trace.network_hash, "0" * 64)
        file["meta"].attrs["network"] = np.bytes_(text)

    path = traces["count", "counts"]
    found = differ(path, changed(path, tmp_path / "b.h5", other))
    assert found.column == "network hash"


# --- repack


@pytest.mark.parametrize("key", [("timed", "packets"), ("count", "counts")])
def test_a_repacked_trace_is_the_same(key, traces, tmp_path):
    path = traces[key]
    plain = repack(path, tmp_path / "plain.h5", compression="none")
    small = repack(plain, tmp_path / "small.h5")
    assert plain.stat().st_size > small.stat().st_size
    for other in (plain, small):
        assert validate(other) == []
        assert differ(path, other) is None
        assert other.read_bytes().startswith(b"neuromorph-trace\nsha256=")
        with h5py.File(path) as one, h5py.File(other) as two:
            assert two["samples/outputs"].compression == (None if other == plain else "gzip")
            seen = []

            def same(name, thing, two=two, seen=seen):
                seen.append(name)
                attrs = {k: np.asarray(v).tolist() for k, v in thing.attrs.items()}
                assert {k: np.asarray(v).tolist() for k, v in two[name].attrs.items()} == attrs
                if isinstance(thing, h5py.Dataset):
                    assert np.array_equal(thing[...], two[name][...])
                    assert thing.dtype == two[name].dtype

            one.visititems(same)
            assert len(seen) > 20
            assert dict(one.attrs).keys() == dict(two.attrs).keys()


def test_what_we_do_not_know_is_repacked_too(traces, tmp_path):
    def extend(file):
        file["later/strings"] = ["a", "b"]
        file["later"].attrs["note"] = "kept"
        file["later/scalar"] = 3

    other = changed(traces["count", "counts"], tmp_path / "b.h5", extend)
    repack(other, other, compression="none")
    with h5py.File(other) as file:
        assert file["later/strings"].asstr()[:].tolist() == ["a", "b"]
        assert file["later"].attrs["note"] == "kept"
        assert file["later/scalar"][()] == 3


def test_what_cannot_be_repacked(traces, mapping, tmp_path):
    path = traces["count", "counts"]
    with pytest.raises(TraceError, match="compression is 'zip'; choose one of none, gzip, lz4"):
        repack(path, tmp_path / "b.h5", compression="zip")
    with pytest.raises(TraceError, match="it is a folder"):
        repack(path, tmp_path)
    with pytest.raises(TraceError, match=r"cannot repack .*: No such file or directory"):
        repack(path, tmp_path / "no" / "b.h5")
    unfinished = stopped(mapping, tmp_path)
    with pytest.raises(TraceError, match="did not finish; only whole traces are repacked"):
        repack(unfinished, tmp_path / "b.h5")
    assert list(tmp_path.iterdir()) == [unfinished]


def stopped(mapping, folder):
    recorder = Recorder(folder / "run.h5", mapping, detail="packets", mode="timed")
    try:
        with recorder:
            encoded = mapping.network.encode(load_data("digits").test_images[:2])
            timed.timed(mapping, encoded, sink=recorder.packets)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        return folder / "run.h5.partial"


# --- replay


@pytest.mark.parametrize("key", [k for k in MODES if k[1] != "counts"])
def test_a_replay_comes_out_the_same(key, traces, mapping, tmp_path):
    with Trace(traces[key]) as trace:
        assert replay(trace, mapping.network, tmp_path / "again.h5") is None
        assert replay(trace, mapping.network) is None
    assert differ(traces[key], tmp_path / "again.h5") is None


def test_a_replay_in_batches(traces, mapping, tmp_path, monkeypatch):
    monkeypatch.setattr("neuromorph.trace.replaying.BATCH", 2)
    with Trace(traces["count", "spikes"]) as trace:
        assert replay(trace, mapping.network) is None


@pytest.mark.parametrize("name", ["samples/outputs", "spikes/level"])
def test_a_replay_finds_what_is_wrong(name, traces, mapping, tmp_path):
    def change(file):
        values = file[name][:]
        values[-1] *= 3
        file[name][:] = values

    path = changed(traces["count", "spikes"], tmp_path / "b.h5", change)
    with Trace(path) as trace:
        found = replay(trace, mapping.network)
        assert found.table == name.split("/")[0]
        assert found.row == (4 if found.table == "samples" else trace.spike_count - 1)


def test_what_cannot_be_replayed(traces, mapping, tmp_path):
    with (
        Trace(traces["count", "counts"]) as trace,
        pytest.raises(TraceError, match="has no spikes; record with detail 'spikes'"),
    ):
        replay(trace, mapping.network)
    other = nm.load_network("mnist-mlp-gxnor")
    with (
        Trace(traces["count", "spikes"]) as trace,
        pytest.raises(TraceError, match="was recorded from network 'digits-gxnor'"),
    ):
        replay(trace, other)
    with (
        Trace(stopped(mapping, tmp_path)) as trace,
        pytest.raises(TraceError, match="did not finish; only whole traces are run again"),
    ):
        replay(trace, mapping.network)
