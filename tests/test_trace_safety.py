"""What happens to traces when things go wrong: kills, full disks, odd paths, hostile files.

Whatever can take the interpreter down or limit it (signals, limits, damaged
metadata in HDF5) happens in a process of its own, in which warnings are errors.
"""

import json
import os
import random
import re
import runpy
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

import neuromorph as nm
from neuromorph.data import load_data
from neuromorph.errors import TraceError
from neuromorph.kernels import timed
from neuromorph.simulation import CHUNK
from neuromorph.trace import Trace, recorder, validate
from neuromorph.trace.unfinished import lookup3

HERE = Path(__file__).parent
GOLDEN = HERE / "data" / "trace-1.0.h5"
PAGE = HERE.parent / "docs" / "trace-format.md"
VERIFICATION = HERE.parent / "verification" / "traces.py"
VERIFY = runpy.run_path(str(VERIFICATION))
UNFINISHED, check_part = VERIFY["UNFINISHED"], VERIFY["check_part"]

# The start of every script: a run whose trace is flushed often.
RUN = """
import json, os, random, resource, shutil, signal, sys, time
from pathlib import Path
import neuromorph as nm
from neuromorph.data import load_data
from neuromorph.errors import TraceError
from neuromorph.simulation import CHUNK
from neuromorph.trace import Trace, blank, recorder, validate, writing

writing.FLUSH_S = 0.0
CHUNK["count"] = 10
recorder.BUFFERED_ROWS = blank.CHUNK_ROWS = 5000
mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
images = load_data("digits").test_images[:60]

def record(path, mode):
    return nm.simulate(mapping, images, mode=mode, trace=path)
"""


def script(text, *arguments, timeout=120):
    """Run a script; what it printed, as JSON."""
    command = [sys.executable, "-W", "error", "-c", RUN + text, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=HERE)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def verify(what, number):
    """Run the verification of traces with a new seed; what it found."""
    seed = random.randrange(1 << 30)
    command = [sys.executable, "-W", "error", VERIFICATION, what]
    command += ["--number", str(number), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, (seed, done.stderr[-2000:])
    found, verdict = done.stdout.rsplit("\n", 2)[0], done.stdout.rstrip().rsplit("\n", 1)[1]
    assert verdict.endswith("no promise broken")
    return json.loads(found)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Mode → trace of the run of the scripts, unharmed."""
    folder = tmp_path_factory.mktemp("whole")
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    images = load_data("digits").test_images[:60]
    for mode in ("count", "timed"):
        nm.simulate(mapping, images, mode=mode, trace=folder / f"{mode}.h5")
    with Trace(folder / "count.h5") as count, Trace(folder / "timed.h5") as timed:
        yield {"count": count, "timed": timed}


# --- kills


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_killed_runs_leave_what_was_flushed():
    """Every level of detail; whole samples in timed runs too."""
    found = verify("kills", 20)
    assert found["files"] >= 10
    assert found["samples"] > 0
    assert found["packets"] > 0


def test_samples_of_a_timed_run_are_written_while_it_goes_on(tmp_path, monkeypatch):
    for name, value in (("PART_S", 0.0), ("RECORDS", 2000), ("EVENTS", 10_000)):
        monkeypatch.setattr(timed, name, value)
    monkeypatch.setattr(recorder, "BUFFERED_ROWS", 2000)
    seen = []

    def flush(self, real=recorder.Writer.flush):
        real(self)
        with Trace(tmp_path / "run.h5.partial") as trace:
            assert validate(trace.path) == [UNFINISHED]
            assert (trace.packets()["sample"][-1:] >= len(trace) - 1).all()
            seen.append(len(trace))

    monkeypatch.setattr(recorder.Writer, "flush", flush)
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    images, labels = load_data("digits").test_images[:20], load_data("digits").test_labels[:20]
    run = nm.simulate(mapping, images, mode="timed", labels=labels, trace=tmp_path / "run.h5")
    assert seen == sorted(seen)
    assert len(set(seen)) > 10
    with Trace(tmp_path / "run.h5") as trace:
        assert validate(trace.path) == []
        assert trace.counts == run.counts
        assert trace.counts.ticks == run.counts.ticks
        assert np.array_equal(trace.labels, labels)
        assert np.array_equal(trace.finished_ticks, run.finished_ticks)


def test_the_short_reader_of_the_document_reads_an_unfinished_file(tmp_path, monkeypatch):
    monkeypatch.setitem(CHUNK, "count", 10)
    calls = []

    def fail(self, *arguments, real=recorder.Writer.batch, **options):
        calls.append(1)
        if len(calls) == 4:
            os._exit(9)  # nothing is closed
        real(self, *arguments, **options)

    monkeypatch.setattr(recorder.Writer, "batch", fail)
    child = os.fork()
    if child == 0:
        mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
        try:
            nm.simulate(mapping, load_data("digits").test_images[:50], trace=tmp_path / "run.h5")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    section = PAGE.read_text().split("## A reader")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    names = {}
    exec("\n".join(line[4:] for line in code.splitlines()), names)
    about, tables, counts = names["read_trace"](str(tmp_path / "run.h5.partial"))
    assert not about["complete"]
    with Trace(tmp_path / "run.h5.partial") as trace:
        assert len(trace) == 30
        assert np.array_equal(tables["samples"]["outputs"], trace.outputs)
        assert np.array_equal(tables["spikes"]["neuron"], trace.spikes()["neuron"])
        assert np.array_equal(counts["xnor_event"], trace.counts["xnor_event"])


def test_the_checksum_of_a_superblock():
    """The one we compute is the one HDF5 wrote."""
    stored = GOLDEN.read_bytes()[512:560]
    assert lookup3(stored[:44]).to_bytes(4, "little") == stored[44:]
    assert lookup3(bytes(12)) != lookup3(bytes(16))


# --- full disks

FULL = """
folder, mode, mount = Path(sys.argv[1]), sys.argv[2], len(sys.argv) > 4
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
found = []
for limit in json.loads(sys.argv[3]):
    here = folder if mount else folder / str(limit)
    if not mount:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        record(here / "run.h5", mode)
        found.append([limit, None, []])
    except TraceError as error:
        found.append([limit, str(error), sorted(p.name for p in here.iterdir())])
print(json.dumps(found))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no file size limits on this system")
@pytest.mark.parametrize("mode", ["count", "timed"])
def test_a_full_disk_gives_one_error_and_a_readable_file(mode, whole, tmp_path):
    limits = [0, 600, 35_000, 45_000, 70_000, 100_000, 200_000, 10_000_000]
    kept = []
    for limit, message, files in script(FULL, tmp_path, mode, json.dumps(limits)):
        if limit == limits[-1]:
            assert message is None
            assert validate(tmp_path / str(limit) / "run.h5") == []
            continue
        partial = tmp_path / str(limit) / "run.h5.partial"
        assert message == f"cannot write trace {partial}: File too large", limit
        assert files in ([], [partial.name])
        if files:
            kept.append(check_part(partial, whole[mode]))
    assert len(kept) >= 3
    assert any(samples or packets for samples, packets in kept)


def test_a_disk_that_is_really_full(whole, tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        ((_, message, files),) = script(FULL, tmp_path, "count", "[0]", "mounted")
        assert message == (
            f"cannot write trace {tmp_path / 'run.h5.partial'}: No space left on device"
        )
        assert files == ["run.h5.partial"]
        assert check_part(tmp_path / "run.h5.partial", whole["count"])[0] > 0
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


# --- odd paths


@pytest.fixture(scope="module")
def tiny():
    """A mapping and two samples of it."""
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    return mapping, load_data("digits").test_images[:2]


def odd_paths(folder):
    """(path, why it cannot be written, why it cannot be read)."""
    (folder / "file").write_text("something")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder / "loop")
    long = folder / ("x" * 300)
    return [
        (folder / "folder", "it is not a file", "is not a file"),
        (folder / "pipe", "it is not a file", "is not a file"),
        (folder / "file" / "run.h5", "Not a directory", "Not a directory"),
        (folder / "file" / "run" / "run.h5", "Not a directory", "Not a directory"),
        (long, "File name too long", "File name too long"),
        (long / "run.h5", "File name too long", "File name too long"),
        (folder / "a\0b", "embedded null byte", "embedded null byte"),
        (folder / "none.h5", None, "No such file or directory"),
        (folder / "loop", "Too many levels of symbolic links", "Too many levels of symbolic links"),
        ("", "it is not a file", "is not a file"),
    ]


def test_odd_paths_give_one_sentence(tiny, tmp_path):
    mapping, images = tiny
    for path, write, read in odd_paths(tmp_path):
        before = sorted(tmp_path.iterdir())
        if write is not None:
            with pytest.raises(TraceError, match=f"^cannot write trace .*: {write}$"):
                nm.simulate(mapping, images, trace=path)
            assert sorted(tmp_path.iterdir()) == before
        with pytest.raises(TraceError, match=f"{read}$"):
            Trace(path)
    assert (tmp_path / "file").read_text() == "something"


def test_a_folder_that_may_not_be_written(tiny, tmp_path):
    mapping, images = tiny
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    shutil.copy(GOLDEN, tmp_path / "secret.h5")
    (tmp_path / "secret.h5").chmod(0)
    for opened in (tmp_path, *tmp_path.parents):
        if opened.stat().st_uid == os.geteuid() and opened.name.startswith(("pytest", "test_")):
            opened.chmod(0o755)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)  # root may write anywhere
        for path in (folder / "run.h5", folder / "new" / "run.h5"):
            with pytest.raises(TraceError, match=r"^cannot write trace .*: Permission denied$"):
                nm.simulate(mapping, images, trace=path)
        with pytest.raises(TraceError, match=r"^cannot read trace .*: Permission denied$"):
            Trace(tmp_path / "secret.h5")
    finally:
        if root:
            os.seteuid(0)
    assert list(folder.iterdir()) == []


def test_a_folder_is_made_and_a_trace_replaced(tiny, tmp_path):
    mapping, images = tiny
    path = tmp_path / "new" / "folder" / "run.h5"
    run = nm.simulate(mapping, images, trace=path)
    assert nm.simulate(mapping, images, trace=str(path)).counts == run.counts
    assert validate(path) == []
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_no_trace_is_not_replaced(tiny, tmp_path):
    mapping, images = tiny
    path = tmp_path / "notes.txt"
    path.write_text("something else")
    with pytest.raises(TraceError, match=r"notes\.txt: the file there is no trace; choose another"):
        nm.simulate(mapping, images, trace=path)
    assert path.read_text() == "something else"
    path.write_bytes(b"")  # an empty file, as a temporary name is reserved, may be
    nm.simulate(mapping, images, trace=path)
    assert validate(path) == []


# --- hostile files


def test_damaged_files_are_refused_or_read():
    """In bounded time and memory, and with no other error; thousands in verification/."""
    found = verify("mutations", 400)
    assert found["read"] + found["refused"] == 400
    assert 5 < found["read"] < 100


def test_the_seal_is_compared_before_hdf5_sees_the_file(tmp_path, monkeypatch):
    path = tmp_path / "bad.h5"
    data = bytearray(GOLDEN.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    monkeypatch.setattr(h5py, "File", None)
    monkeypatch.setattr(h5py, "is_hdf5", None)
    with pytest.raises(TraceError, match="content does not match its SHA-256"):
        Trace(path)


def test_foreign_hdf5_files(tmp_path):
    path = tmp_path / "foreign.h5"
    with h5py.File(path, "w"):
        pass
    with pytest.raises(TraceError, match=r"is not a neuromorph-trace file$"):
        Trace(path)
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("x", data=np.arange(9), chunks=True, compression="lzf")
        file["spikes/timestamps"] = [1.0, 2.0]
        file.attrs["format"] = "sonata"
    with pytest.raises(TraceError, match=r"attribute 'format' of / is not a single str$"):
        Trace(path)


def test_nothing_is_read_from_elsewhere(tmp_path):
    """A link, a virtual dataset and external storage that point at a real secret."""
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["level"] = np.full(35, 7, "<i2")
    for number, hostile in enumerate(
        (
            lambda f: f.__setitem__("spikes/level", h5py.ExternalLink(str(secret), "level")),
            lambda f: f["spikes"].create_virtual_dataset("level", _virtual(secret)),
            lambda f: f.create_dataset("spikes/level", (35,), "<i2", external=[(secret, 0, 70)]),
        )
    ):
        path = tmp_path / f"{number}.h5"
        path.write_bytes(bytes(512) + GOLDEN.read_bytes()[512:])
        with h5py.File(path, "r+", libver="latest") as file:
            del file["spikes/level"]
            hostile(file)
        with pytest.raises(TraceError, match=r"/spikes/level (is a soft|takes its values)"):
            Trace(path)


def _virtual(secret):
    layout = h5py.VirtualLayout((35,), "<i2")
    layout[:] = h5py.VirtualSource(str(secret), "level", (35,))
    return layout


def test_times_that_no_integer_can_hold(tmp_path):
    path = tmp_path / "run.h5"
    path.write_bytes(bytes(512) + GOLDEN.read_bytes()[512:])
    with h5py.File(path, "r+") as file:
        file["samples/finish"][2] = -(1 << 63)
        file["samples/start"][0] = (1 << 63) - 1
    with Trace(path) as trace:
        trace.info()
    assert any(problem.startswith("rule 17") for problem in validate(path))


def test_groups_without_end_are_visited_once(tmp_path):
    path = tmp_path / "deep.h5"
    path.write_bytes(bytes(512) + GOLDEN.read_bytes()[512:])
    with h5py.File(path, "r+") as file:
        group = file
        for _ in range(2000):
            group = group.create_group("g")
        group["round"] = file["/"]
    assert validate(path) == []


def test_too_many_objects_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("neuromorph.trace.door.MAX_OBJECTS", 20)
    with pytest.raises(TraceError, match="holds more than 20 objects"):
        Trace(GOLDEN)


def test_text_that_is_too_long_is_refused(monkeypatch):
    monkeypatch.setattr("neuromorph.trace.door.MAX_TEXT_BYTES", 100)
    with pytest.raises(TraceError, match=r"attribute 'network' of /meta has \d+ bytes"):
        Trace(GOLDEN)


def test_a_liar_about_its_network_is_refused(tmp_path):
    """The hash of one network with the layers of another."""
    path = tmp_path / "liar.h5"
    path.write_bytes(bytes(512) + GOLDEN.read_bytes()[512:])
    network = nm.load_network("digits-gxnor")
    with h5py.File(path, "r+") as file:
        about = json.loads(file["meta"].attrs["network"]) | {"hash": network.hash}
        file["meta"].attrs["network"] = np.bytes_(json.dumps(about).encode())
    with Trace(path) as trace, pytest.raises(TraceError, match="describes another network than"):
        trace.mapping(network)


def test_slices_that_the_network_does_not_have_are_refused(tmp_path):
    path = tmp_path / "run.h5"
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    nm.simulate(mapping, load_data("digits").test_images[:1], mode="timed", trace=path)
    path.write_bytes(bytes(512) + path.read_bytes()[512:])
    with h5py.File(path, "r+") as file:
        file["mapping/input_columns"][0] = [0, 2]
    with Trace(path) as trace, pytest.raises(TraceError, match=r"gives core \d+ a part of layer"):
        trace.mapping(mapping.network)


def test_packets_to_nowhere_make_no_events(tmp_path):
    path = tmp_path / "run.h5"
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    nm.simulate(mapping, load_data("digits").test_images[:1], mode="timed", trace=path)
    for name, value in (("target", 99), ("target", 0), ("neuron", 1 << 20)):
        path.write_bytes(bytes(512) + path.read_bytes()[512:])
        with h5py.File(path, "r+") as file:
            before = file[f"packets/{name}"][3]
            file[f"packets/{name}"][3] = value
        with Trace(path) as trace, pytest.raises(TraceError, match="names a core or neuron"):
            list(trace.synaptic_events(mapping.network))
        with h5py.File(path, "r+") as file:
            file[f"packets/{name}"][3] = before


def test_a_pipe_is_not_waited_for(tmp_path):
    """Opening one to read blocks until somebody writes; it is refused before."""
    os.mkfifo(tmp_path / "pipe")
    done = []
    thread = threading.Thread(target=lambda: done.append(validate(tmp_path / "pipe")), daemon=True)
    thread.start()
    thread.join(20)
    assert done == [[f"{tmp_path / 'pipe'} is not a file"]]
