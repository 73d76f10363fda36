"""Recording a run."""

import datetime
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from trace_kit import contents

import neuromorph as nm
from networks import random_mapping, random_network, random_samples
from neuromorph.errors import SimulationError, TraceError
from neuromorph.mapping.packets import PACKET_DTYPE
from neuromorph.reference import timed as reference_timed
from neuromorph.simulation import CHUNK
from neuromorph.trace import Recorder, Trace, blank, door, recorder, validate, writing
from neuromorph.trace.unfinished import Unfinished

# --- recording


def test_a_detail_that_is_not_to_be_had_leaves_no_file(digits, tmp_path):
    mapping, images, _ = digits
    with pytest.raises(SimulationError, match="mode 'count' has no packets to record"):
        nm.simulate(mapping, images, trace=tmp_path / "run.h5", mode="count", detail="packets")
    assert list(tmp_path.iterdir()) == []


def test_two_runs_write_the_same(recorded, digits, tmp_path):
    _, path, _ = recorded
    mapping, images, labels = digits
    nm.simulate(mapping, images, mode="timed", labels=labels, trace=tmp_path / "again.h5")
    assert contents(path, but=["created"]) == contents(tmp_path / "again.h5", but=["created"])


def test_only_the_time_of_creation_tells_two_files_apart(digits, tmp_path, monkeypatch):
    class Stopped(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr(blank, "datetime", Stopped)
    mapping, images, labels = digits
    nm.simulate(mapping, images, mode="timed", labels=labels, trace=tmp_path / "a.h5")
    time.sleep(1.1)  # HDF5 has time stamps of its own, in seconds
    nm.simulate(mapping, images, mode="timed", labels=labels, trace=tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with Trace(tmp_path / "a.h5") as trace:
        assert trace.created == "2026-01-02T03:04:05+00:00"


def test_rows_do_not_depend_on_the_batch_split(digits, tmp_path, monkeypatch):
    mapping, images, labels = digits
    for name, chunk in (("a.h5", 100), ("b.h5", 7), ("c.h5", 1)):
        monkeypatch.setitem(CHUNK, "count", chunk)
        monkeypatch.setattr(writing, "SPIKE_BLOCK_CELLS", chunk * 500)
        nm.simulate(mapping, images, labels=labels, trace=tmp_path / name)
        assert validate(tmp_path / name) == []
    first = contents(tmp_path / "a.h5", but=["created"])
    assert contents(tmp_path / "b.h5", but=["created"]) == first
    assert contents(tmp_path / "c.h5", but=["created"]) == first


def test_flushed_packets_can_be_read_while_the_run_goes_on(digits, tmp_path, monkeypatch):
    """They leave memory a full buffer at a time, and another process may look at them."""
    monkeypatch.setattr(recorder, "BUFFERED_ROWS", 1000)
    monkeypatch.setattr(writing, "FLUSH_S", 0.0)
    mapping, images, _ = digits
    path, seen = tmp_path / "run.h5", []
    ask = "import sys; from neuromorph.trace import Trace; t = Trace(sys.argv[1]); "
    ask += "print(t.complete, t.packet_count, len(t.packets(0)['sent']))"

    def pass_on(self, ring, real=Recorder._pass_on):
        real(self, ring)
        if not seen and self._rings["packets"].handed > 8000:
            self._tasks.join()  # full buffers are on the disk, what is left of one is not
            command = [sys.executable, "-c", ask, f"{path}.partial"]
            seen.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            with Trace(f"{path}.partial") as trace:
                seen.append((trace.complete, trace.packet_count, len(trace.packets(0)["sent"])))

    monkeypatch.setattr(Recorder, "_pass_on", pass_on)
    nm.simulate(mapping, images, mode="timed", trace=path)
    complete, count, of_the_first = seen[1]
    assert seen[0].split() == [str(part) for part in seen[1]]
    assert not complete
    assert count > 1000
    assert count % 1000 == 0
    with Trace(path) as trace:
        assert trace.packet_count > count
        assert len(trace.packets(0)["sent"]) == of_the_first


def test_rows_are_on_the_disk_before_they_count(digits, tmp_path, monkeypatch):
    """Whenever ``flushed`` is written, the file on disk already has what it counts."""
    mapping, images, labels = digits
    path, seen = tmp_path / "run.h5", []

    def modify(self, name, value, real=h5py.AttributeManager.modify):
        if name == "flushed":
            with h5py.File(Unfinished.look(Path(f"{path}.partial"), 512)) as file:
                seen.append(value.tolist())
                assert len(file["counts/values"][:]) == len(file["samples/label"][:]) == value[0]
                assert len(file["spikes/level"][:]) == value[1]
                assert len(file["packets/sent"][:]) == value[2]
                assert (file["packets/delivered"][:] > 0).all()
                assert (file["spikes/level"][:] != 0).all()
        real(self, name, value)

    monkeypatch.setattr(h5py.AttributeManager, "modify", modify)
    monkeypatch.setattr(recorder, "BUFFERED_ROWS", 20_000)
    monkeypatch.setattr(writing, "FLUSH_S", 0.0)
    nm.simulate(mapping, images, mode="timed", labels=labels, trace=path)
    assert len(seen) > 3
    assert seen == sorted(seen)


def test_a_file_that_grows_while_it_is_opened(digits, tmp_path, monkeypatch):
    mapping, _, _ = digits
    monkeypatch.setattr(recorder, "BUFFERED_ROWS", 100)
    records = np.zeros(100, PACKET_DTYPE)
    with Recorder(tmp_path / "run.h5", mapping, detail="packets", mode="timed") as open_one:
        open_one.packets(records)
        open_one.flush()

        def look_over(path, file, real=door.look_over):
            real(path, file)
            open_one.packets(records)
            open_one.flush()

        monkeypatch.setattr(door, "look_over", look_over)
        with Trace(tmp_path / "run.h5.partial") as trace:
            assert trace.packet_count in (100, 200)
            assert len(trace.packets()["sent"]) == trace.packet_count
        with Trace(tmp_path / "run.h5.partial") as trace:
            assert trace.packet_count in (200, 300)


def test_a_run_that_fails_leaves_what_there_was(digits, tmp_path, monkeypatch):
    mapping, images, _ = digits
    monkeypatch.setitem(CHUNK, "count", 10)
    calls = []

    def fail(self, *arguments, real=Recorder.batch, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(self, *arguments, **options)

    monkeypatch.setattr(Recorder, "batch", fail)
    with pytest.raises(KeyboardInterrupt):
        nm.simulate(mapping, images, trace=tmp_path / "run.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5.partial"]
    assert validate(tmp_path / "run.h5.partial") == [
        "rule 11: the run did not finish; what was flushed is readable"
    ]
    with Trace(tmp_path / "run.h5.partial") as trace:
        assert (len(trace), trace.complete) == (20, False)
        assert "INCOMPLETE" in trace.info()
        assert trace.counts == nm.simulate(mapping, images[:20]).counts


def test_a_second_run_into_the_same_file(digits, tmp_path):
    """The later one wins; the earlier one says so instead of sealing half a file."""
    mapping, images, _ = digits
    path = tmp_path / "run.h5"
    earlier, later = (Recorder(path, mapping, detail="counts", mode="count") for _ in range(2))
    earlier.__enter__()
    run = nm.simulate(mapping, images, trace=path, detail="spikes")
    later.__enter__()
    with pytest.raises(TraceError, match=r"another run has begun to write run\.h5\.partial"):
        earlier.__exit__(None, None, None)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["run.h5", "run.h5.partial"]
    with Trace(path) as trace:
        assert trace.counts == run.counts
    later.__exit__(None, None, None)
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5"]
    assert validate(path) == []


def test_recorder_refuses_what_it_cannot_record(digits, tmp_path):
    mapping, images, _ = digits
    with pytest.raises(TraceError, match="trace mode is 'fast'; choose one of"):
        Recorder(tmp_path / "run.h5", mapping, detail="counts", mode="fast")
    with pytest.raises(
        TraceError, match="detail is 'flits'; choose one of counts, spikes, packets"
    ):
        Recorder(tmp_path / "run.h5", mapping, detail="flits", mode="timed")
    with pytest.raises(TraceError, match="mode 'count' has no packets"):
        Recorder(tmp_path / "run.h5", mapping, detail="packets", mode="count")
    recorder_ = Recorder(tmp_path / "run.h5", mapping, detail="packets", mode="timed")
    with pytest.raises(TraceError, match="is not open for writing"):
        recorder_.packets(np.zeros(3, PACKET_DTYPE))
    run = reference_timed.timed(mapping, mapping.network.encode(images[:1]))
    run.started = None
    with (
        pytest.raises(TraceError, match="must say when its samples start and finish"),
        recorder_ as open_one,
    ):
        open_one.batch(np.zeros((1, 64), np.int16), run, None)


@pytest.mark.parametrize(
    "meta",
    [{"a": np.int64(3)}, {"when": object}, {(1, 2): 3}, {"text": "\ud800"}, {"deep": [[[]]] * 3}],
)
def test_any_provenance_can_be_recorded(meta, tmp_path):
    network = random_network(3)
    odd = nm.Network(name="odd µ", input=network.input, layers=network.layers, meta=meta)
    mapping = random_mapping(odd, np.random.default_rng(0))
    nm.simulate(mapping, random_samples(odd, np.random.default_rng(0), 2), trace=tmp_path / "o.h5")
    assert validate(tmp_path / "o.h5") == []
    with Trace(tmp_path / "o.h5") as trace:
        assert trace.network_name == "odd µ"
        assert list(trace.provenance) == ["network"]
        if "a" in meta:
            assert trace.provenance == {"network": {"a": repr(meta["a"])}}
