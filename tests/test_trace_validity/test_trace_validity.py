"""The validity list of docs/trace-format.md: a file that breaks one thing, for every rule.

Each case takes a valid trace (the one of version 1.0 in ``data``, that of
version 1.1 where hops are meant), changes one thing with h5py and expects the
sentence.  Rules 1 to 10 keep a file from being opened, and the sentence is the
whole answer; the others are named by number.
"""

import re
import shutil

import content_cases  # noqa: F401 (registers its cases)
import h5py
import numpy as np
import pytest
from opening_cases import an_unknown_filter
from validity_kit import (
    CASES,
    GOLDEN,
    HERE,
    HOPS,
    OPENING,
    PAGE,
    SPLIT,
    edit,
    edit_layer,
    put,
    replace,
    text,
    unseal,
)

import neuromorph as nm
from neuromorph.data import load_data
from neuromorph.errors import TraceError, TraceVersionError
from neuromorph.events import ACTIONS
from neuromorph.trace import Trace, ledger, reader, schema, validate


def test_the_valid_trace_is_valid(tmp_path):
    assert validate(GOLDEN) == []
    path = tmp_path / "run.h5"
    shutil.copy(GOLDEN, path)
    unseal(path)
    assert validate(path) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d[:-1] + bytes([d[-1] ^ 1]), "content does not match its SHA-256"),
        (lambda d: d[:-9], "content does not match its SHA-256"),
        (lambda d: d[:40] + b"0" + d[41:], "content does not match its SHA-256"),
        (lambda d: d + b"more", "content does not match its SHA-256"),
        (lambda d: bytes(512) + d[512:-9], "cannot be read: .*truncated"),
        (lambda d: bytes(512) + d[512:600] + bytes(200) + d[800:], "cannot be read"),
        (lambda d: d[:512], "content does not match its SHA-256"),
        (lambda d: bytes(512), "is not an HDF5 file, or its beginning is damaged"),
        (lambda d: b"sample,spikes\n1,2\n", "is not an HDF5 file, or its beginning is damaged"),
        (lambda d: b"", "is empty"),
    ],
)
def test_rule_1_the_file_is_whole(change, sentence, tmp_path):
    path = tmp_path / "run.h5"
    path.write_bytes(change(GOLDEN.read_bytes()))
    (problem,) = validate(path)
    assert re.search(sentence, problem)
    with pytest.raises(TraceError, match=sentence):
        Trace(path)


@pytest.mark.parametrize(("rule", "sentence", "change"), CASES)
def test_a_broken_rule_gives_its_sentence(rule, sentence, change, tmp_path):
    path = tmp_path / "run.h5"
    shutil.copy(HOPS if rule >= 25 else GOLDEN, path)
    unseal(path)
    with h5py.File(path, "r+") as file:
        change(file)
    problems = validate(path)
    if rule not in OPENING:
        wanted = re.compile(f"rule {rule}: .*(?:{sentence})")
        assert any(wanted.search(p) for p in problems), problems
        Trace(path).close()
        return
    (problem,) = problems
    assert re.search(f"^{re.escape(str(path))}.*(?:{sentence})", problem), problem
    with pytest.raises(TraceError) as caught:
        Trace(path)
    assert str(caught.value) == problem
    is_version = "version is 2" in sentence or "does not know" in sentence
    assert isinstance(caught.value, TraceVersionError) == is_version


def partial_sums(file):
    """Rows of /packets that are partial sums: from rows 2, 4, 6 and 7, which own nothing."""
    sources = [2, 4, 6, 7]
    is_sum = np.isin(file["packets/source"][:], sources) & (file["packets/payload"][:] != 0)
    return np.flatnonzero(is_sum)


def a_sum_to_no_owner(file):
    first = int(partial_sums(file)[0])
    file["packets/target"][first] = {1: 3, 3: 1, 5: 6}[int(file["packets/target"][first])]


def a_sum_of_a_neuron_elsewhere(file):
    first = int(partial_sums(file)[0])
    file["packets/neuron"][first] ^= 1  # the next column, on another core


def a_spike_by_another_port(file):
    entering = (file["packets/source"][:] == 8) & (file["packets/payload"][:] != 0)
    file["packets/source"][int(np.flatnonzero(entering)[0])] = 0


def a_sum_too_many(file):
    places = [
        list(file["counts/actions"].asstr()[:]).index(f"partial_{end}") for end in ["in", "out"]
    ]
    for place, row in zip(places, (5, 6)):
        file["counts/values"][1, row, place] += 1


def tally_of(action):
    def change(file):
        place = list(file["counts/actions"].asstr()[:]).index(action)
        file["counts/values"][1, 5, place] += 1

    return change


@pytest.mark.parametrize(
    ("rule", "sentence", "change"),
    [
        (9, "/mapping/inputs has a range outside its layer", put("mapping/inputs", (5, 1), 17)),
        (9, "parts of the fan-in of layer 'output' that do not make up its 16 input channels once",
         put("mapping/inputs", (5, 1), 9)),
        (9, "/mapping puts neurons of layer 'conv' on two cores or none",
         put("mapping/inputs", (1, 0), 0)),
        (15, "partial_out and partial_in differ", tally_of("partial_out")),
        (22, "has a partial sum to a core that does not own its neurons", a_sum_to_no_owner),
        (22, "has a packet from a core that its neuron does not sit on",
         a_sum_of_a_neuron_elsewhere),
        (22, "has a packet from a core that its neuron does not sit on", a_spike_by_another_port),
        (23, "/packets and the counts differ in partial_out of sample 1, row 6", a_sum_too_many),
        (26, "does not go the way from its source", edit("chip", board_hop_ticks=8)),
        (26, "does not go the way from its source", edit("chip", ports=[[0, 0], [2, 1]])),
        (27, "waits too long for its link, or not long enough", edit("chip", board_link_ticks=2)),
        (28, "/hops and the counts differ in hop_chip", tally_of("hop_chip")),
    ],
)  # fmt: skip
def test_rules_of_boards_ports_and_partial_sums(rule, sentence, change, tmp_path):
    path = tmp_path / "run.h5"
    shutil.copy(SPLIT, path)
    unseal(path)
    with h5py.File(path, "r+") as file:
        change(file)
    problems = validate(path)
    number = f"rule {rule}: " if rule not in OPENING else ""
    assert any(p.startswith(number) and sentence in p for p in problems), problems


def test_every_rule_of_the_document_has_a_case():
    section = PAGE.read_text().split("## Validity")[1].split("\n## ")[0]
    numbers = [int(n) for n in re.findall(r"^(\d+)\. ", section, re.MULTILINE)]
    assert numbers == list(range(1, 29))
    assert {1, *(c.values[0] for c in CASES)} == set(numbers)
    folder = HERE.parent / "neuromorph" / "trace"
    source = "".join((folder / f"{name}.py").read_text() for name in ("validate", "hop_rules"))
    named = {
        int(n) for n in re.findall(r"(?:yield|Ledger\(\s*trace,|once\(\s*)\s*\(?\s*(\d+),", source)
    }
    assert named == set(numbers) - set(OPENING)


def test_the_document_names_everything_there_is():
    page = PAGE.read_text()
    names = [
        *schema.ROOT_ATTRIBUTES,
        *schema.META,
        *schema.MAPPING_COLUMNS,
        *schema.RANGES,
        schema.INPUTS,
        *schema.SAMPLE_COLUMNS,
        *schema.TIME_COLUMNS,
        *schema.SPIKE_COLUMNS,
        *schema.PACKET_COLUMNS,
        *schema.HOP_COLUMNS,
        *schema.HARDWARE,
        *schema.NetworkInfo.__struct_fields__,
        *schema.LayerInfo.__struct_fields__,
        *(n for n in schema.Chip.__dataclass_fields__ if n != "text"),
    ]
    assert [n for n in names if f"`{n}`" not in page] == []
    for action, meaning in ACTIONS.items():
        assert f"| `{action}` | {meaning} |" in page


def test_several_problems_are_all_named(tmp_path):
    path = tmp_path / "run.h5"
    shutil.copy(GOLDEN, path)
    unseal(path)
    with h5py.File(path, "r+") as file:
        file.attrs["complete"] = False
        file["samples/label"][0] = -7
        file["spikes/level"][0] = 4
    assert [p.split(":")[0] for p in validate(path)] == ["rule 11", "rule 16", "rule 19"]


@pytest.mark.parametrize("path", sorted((HERE / "data").glob("trace-*.h5")), ids=lambda p: p.stem)
def test_a_file_of_every_version_is_valid_and_read(path):
    assert validate(path) == []
    with Trace(path) as trace:
        assert path.stem == f"trace-{trace.version}"
        assert len(trace.labels) == 3
        assert trace.packet_count == len(trace.packets()["sent"]) > 0
        assert trace.holds("hops") == (trace.hop_count > 0) == (trace.version > "1.0")
        assert trace.counts.events > 0


def test_there_is_a_file_of_this_version():
    major, minor = schema.VERSION
    names = {f"trace-{major}.{n}.h5" for n in range(minor + 1)}
    assert names == {p.name for p in (HERE / "data").glob("trace-*.h5")}


def test_later_minor_versions_are_read(tmp_path):
    """Attributes, JSON keys, columns, datasets and groups nobody knows yet are ignored."""
    path = tmp_path / "run.h5"
    shutil.copy(GOLDEN, path)
    unseal(path)
    with h5py.File(path, "r+") as file:
        text(file, "version", "1.12")
        file.attrs["weather"] = "fine"
        for table in ("samples", "spikes", "packets", "counts", "mapping", "meta"):
            file[f"{table}/colour"] = np.arange(7)
            file[f"{table}/part/deep/words"] = ["of", "variable", "length"]
        file["learning/attempts"] = np.zeros(4)
        file["dtype"] = np.dtype("<f8")
        file["again"] = file["spikes"]
        an_unknown_filter(file, "counts", "packed")
        file["samples"].attrs["flushed"] = [*file["samples"].attrs["flushed"], 0, 12]
        for part in ("network", "chip", "options"):
            edit(part, more={"a": [1]})(file)
        edit_layer(0, more=3)(file)
    assert validate(path) == []
    with Trace(path) as trace, Trace(GOLDEN) as golden:
        assert trace.counts == golden.counts
        assert list(trace.spikes()) == list(schema.SPIKE_COLUMNS)
        assert list(trace.packets()) == list(schema.PACKET_COLUMNS)


def test_an_action_that_never_happened_may_be_left_out(tmp_path):
    path = tmp_path / "run.h5"
    shutil.copy(GOLDEN, path)
    unseal(path)
    with h5py.File(path, "r+") as file:
        names, values = file["counts/actions"][:], file["counts/values"][:]
        order = [i for i, a in enumerate(names) if a not in (b"barrier", b"pool_cmp")][::-1]
        replace(file, "counts/actions", names[order])
        replace(file, "counts/values", values[:, :, order], maxshape=(None, None, None))
    assert validate(path) == []
    with Trace(path) as trace, Trace(GOLDEN) as golden:
        assert trace.counts == golden.counts


def test_rows_beyond_flushed_do_not_exist(tmp_path):
    """As a killed writer leaves them: there, but not vouched for."""
    path = tmp_path / "run.h5"
    shutil.copy(GOLDEN, path)
    unseal(path)
    with h5py.File(path, "r+") as file:
        file.attrs["complete"] = False
        file["samples"].attrs["flushed"] = [1, 11, 15]
    (problem,) = validate(path)
    assert problem.startswith("rule 11")
    with Trace(path) as trace, Trace(GOLDEN) as golden:
        assert (len(trace), trace.spike_count, trace.packet_count) == (1, 11, 15)
        assert trace.outputs.tolist() == golden.outputs[:1].tolist()
        assert np.array_equal(trace.counts.values, golden.counts.values[:1])
        assert len(trace.spikes()["level"]) == 11
        assert trace.packets()["sent"].tolist() == golden.packets()["sent"][:15].tolist()


def test_counts_are_compared_a_few_samples_at_a_time(tmp_path, monkeypatch):
    """Samples overlap in time; those whose group is done too early are summed up again."""
    path = tmp_path / "run.h5"
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    images = load_data("digits").test_images[:12]
    nm.simulate(mapping, images, mode="timed", detail="hops", trace=path)
    unseal(path)
    rescans = []

    def blocks(self, table, *, rows=None, real=Trace.blocks):
        rescans.append(table)
        return real(self, table, rows=rows)

    monkeypatch.setattr(ledger, "GROUP_CELLS", 1)
    monkeypatch.setattr(reader, "BLOCK_ROWS", 500)
    for groups in (1, 3):
        monkeypatch.setattr(ledger, "GROUPS", groups)
        with monkeypatch.context() as patch:
            patch.setattr(Trace, "blocks", blocks)
            assert validate(path) == []
    assert rescans.count("packets") > 4  # each sample overlaps with the next
    with h5py.File(path, "r+") as file:
        action = file["counts/actions"][:].tolist().index(b"spike_in")
        file["counts/values"][7, 1, action] += 1
    sentence = "rule 23: /packets and the counts differ in spike_in of sample 7, row 1: "
    assert any(problem.startswith(sentence) for problem in validate(path))
