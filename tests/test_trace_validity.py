"""The validity list of docs/trace-format.md: a file that breaks one thing, for every rule.

Each case takes a valid trace (the one of version 1.0 in ``data``, that of
version 1.1 where hops are meant), changes one thing with h5py and expects the
sentence.  Rules 1 to 10 keep a file from being opened, and the sentence is the
whole answer; the others are named by number.
"""

import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from neuromorph.errors import TraceError, TraceVersionError
from neuromorph.events import ACTIONS
from neuromorph.mapping.packets import TOKEN
from neuromorph.trace import Trace, schema, validate

HERE = Path(__file__).parent
GOLDEN = HERE / "data" / "trace-1.0.h5"
HOPS = HERE / "data" / "trace-1.1.h5"
PAGE = HERE.parent / "docs" / "trace-format.md"
OPENING = range(1, 11)
CASES = []


def case(rule, sentence):
    """Register a function that breaks a rule, and the sentence that follows."""

    def keep(function):
        CASES.append(pytest.param(rule, sentence, function, id=f"{rule}-{function.__name__}"))
        return function

    return keep


def unseal(path):
    with open(path, "r+b") as file:
        file.write(bytes(512))


def replace(file, name, values, **options):
    """Another dataset under the name."""
    del file[name]
    return file.create_dataset(name, data=values, **options)


def put(name, index, value):
    """A function that writes one cell."""
    return lambda file: file[name].__setitem__(index, value)


def add(name, index, number):
    """A function that adds to one cell."""
    return lambda file: file[name].__setitem__(index, file[name][index] + number)


def text(owner, name, value):
    """Set a string attribute the way the format wants it."""
    data = value.encode() or b"\0"
    owner.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", len(data)))


def edit(part, **changes):
    """A function that changes the JSON of an attribute of /meta; None takes a key away."""

    def function(file):
        value = json.loads(file["meta"].attrs[part])
        value |= changes
        for key in [k for k, v in changes.items() if v is None]:
            del value[key]
        text(file["meta"], part, json.dumps(value))

    return function


def edit_layer(index, **changes):
    def function(file):
        layers = json.loads(file["meta"].attrs["network"])["layers"]
        layers[index] |= changes
        edit("network", layers=layers)(file)

    return function


def resize(name, rows):
    return lambda file: file[name].resize(rows, axis=0)


def column(file, table, name):
    return file[f"{table}/{name}"][:]


def put_everywhere(file, table, rows, **values):
    for name, value in values.items():
        data = file[f"{table}/{name}"]
        data[:] = np.where(rows, value, data[:])


# --- rules 1 to 10: what keeps a file from being opened


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


@case(2, "/extra is a soft or external link")
def soft_link(file):
    file["extra"] = h5py.SoftLink("/spikes")


@case(2, "/spikes/level is a soft or external link")
def external_link(file):
    del file["spikes/level"]
    file["spikes/level"] = h5py.ExternalLink("other.h5", "/level")


@case(2, "/counts/values takes its values from another file")
def external_storage(file):
    shape = file["counts/values"].shape
    del file["counts/values"]
    file.create_dataset("counts/values", shape, "<i8", external=[("/etc/passwd", 0, 1 << 20)])


@case(2, "/notes/all takes its values from another file")
def virtual_dataset(file):
    layout = h5py.VirtualLayout((3,), "<i8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
    file.create_group("notes").create_virtual_dataset("all", layout)


@case(3, "/samples/label has blocks of 134217728 bytes")
def a_huge_block(file):
    replace(file, "samples/label", np.zeros(3, "<i8"), chunks=(1 << 24,), maxshape=(None,))


@case(3, f"/spikes/sample claims {1 << 42} bytes, 0 are stored")
def a_huge_claim(file):
    del file["spikes/sample"]
    file.create_dataset("spikes/sample", (1 << 40,), "<u4", chunks=(4096,))


@case(3, "/counts/ticks has 1048576 blocks of 8 bytes")
def very_many_small_blocks(file):
    del file["counts/ticks"]
    file.create_dataset("counts/ticks", (1 << 20,), "<i8", chunks=(1,))


@case(3, r"/samples/label is compressed with filter 299 \(.*not installed; run: pip install")
def an_unknown_filter(file, group="samples", name="label"):
    if name in file[group]:
        del file[group][name]
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((3,))
    made.set_filter(299, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple((3,))
    h5py.h5d.create(file[group].id, name.encode(), h5py.h5t.STD_I64LE, space, made)


@case(4, "is not a neuromorph-trace file")
def another_format(file):
    text(file, "format", "sonata")


@case(4, "is not a neuromorph-trace file")
def no_format(file):
    del file.attrs["format"]


for name in schema.ROOT_ATTRIBUTES:
    if name != "format":
        case(4, f"attribute '{name}' of / is missing")(
            lambda file, name=name: file.attrs.__delitem__(name)
        )


@case(4, "trace version is 2.0; this program reads 1.0 to 1.x")
def a_newer_major_version(file):
    text(file, "version", "2.0")


@case(4, "trace version is 'one'; it must be like 1.0")
def no_version(file):
    text(file, "version", "one")


@case(4, "attribute 'version' of / is not a single str")
def a_version_of_numbers(file):
    file.attrs["version"] = [1, 0]


@case(4, "attribute 'generator' of / is not a single str")
def a_string_of_variable_length(file):
    file.attrs["generator"] = "somebody"


@case(4, "attribute 'complete' of / is not a single bool")
def a_number_for_complete(file):
    file.attrs["complete"] = 1


@case(4, "attribute 'created' of / cannot be read: 'utf-8' codec")
def a_string_that_is_not_utf8(file):
    file.attrs.create("created", b"\xff\xfe", dtype=h5py.string_dtype("utf-8", 2))


@case(4, "mode 'fast' or detail 'packets' is not known")
def an_unknown_mode(file):
    text(file, "mode", "fast")


@case(4, "mode 'timed' or detail 'flits' is not known")
def an_unknown_detail(file):
    text(file, "detail", "flits")


@case(4, "a run in mode 'count' has no packets")
def packets_without_time(file):
    text(file, "mode", "count")


@case(5, "group /meta is missing")
def no_meta(file):
    del file["meta"]


for name in schema.META:
    case(5, f"attribute '{name}' of /meta is missing")(
        lambda file, name=name: file["meta"].attrs.__delitem__(name)
    )


@case(5, "attribute 'options' of /meta is malformed: Input data was truncated")
def no_json(file):
    text(file["meta"], "options", "{")


@case(5, "attribute 'provenance' of /meta is malformed: ")
def json_without_end(file):
    text(file["meta"], "provenance", "[" * 50_000)


@case(5, "attribute 'environment' of /meta is malformed: Expected `object`, got `array`")
def a_list_for_an_object(file):
    text(file["meta"], "environment", "[]")


case(5, "'network' of /meta is malformed: Object missing required field `hash`")(
    edit("network", hash=None)
)
case(5, r"'network' of /meta is malformed: .*\$.encoding")(edit("network", encoding="morse"))
case(5, "'network' of /meta is malformed: .*`int` >= 1")(edit_layer(0, sum_shape=[2, 0, 2]))
case(5, "'chip' of /meta is malformed: Object missing required field `tick_s`")(
    edit("chip", tick_s=None)
)
case(5, r"'chip' of /meta is malformed: Expected `int`, got `float` - at `\$.neurons`")(
    edit("chip", neurons=1.5)
)
case(6, "two layers of the network have one name")(edit_layer(1, name="conv"))
case(6, "layer 'output' does not fit the layer before it")(edit_layer(1, input_shape=[9, 1, 1]))
case(6, "layer 'conv' is read out, or not, out of turn")(edit_layer(0, n=None))
case(6, "layer 'output' is read out, or not, out of turn")(edit_layer(1, n=1))
case(6, "the network has more than 67108864 neurons")(edit_layer(0, sum_shape=[1 << 30, 1, 1]))
case(7, "core.neurons is 0; it must be 1 to")(edit("chip", neurons=0))
case(7, "times.hop_x is -1; it must be 0 to")(edit("chip", hop_x_ticks=-1))
case(7, "the mesh has 1280000 cores; at most 1048576 are simulated")(
    edit("chip", cores_per_tile=5000)
)
case(7, "times.tick_s is 0.0; it must be above 0")(edit("chip", tick_s=0.0))
case(7, "attribute 'tick_s' is 2e-09, the chip has 1e-09")(edit("chip", tick_s=1e-9))


@case(7, "attribute 'tick_s' is nan, the chip has 2e-09")
def a_tick_that_is_no_number(file):
    file.attrs["tick_s"] = np.nan


for name in (*schema.MAPPING_COLUMNS, *schema.RANGES):
    case(8, f"dataset /mapping/{name} is missing")(
        lambda file, name=name: file["mapping"].__delitem__(name)
    )


@case(8, "/mapping/core is int32; it must be int64")
def a_narrow_core(file):
    replace(file, "mapping/core", np.arange(3, dtype="<i4"))


@case(8, r"/mapping/rows has shape \[2, 2\]; it must be \[3, 2\]")
def a_slice_too_few(file):
    replace(file, "mapping/rows", np.zeros((2, 2), "<i8"))


@case(8, "/mapping has no slices")
def no_slices(file):
    for name, data in list(file["mapping"].items()):
        replace(file, f"mapping/{name}", data[:0])


NO_CORE = "/mapping/core has a core twice, or one the chip does not have"
case(9, "/mapping/layer does not ascend through the layers")(put("mapping/layer", 0, 1))
case(9, "/mapping/layer does not ascend through the layers")(put("mapping/layer", 2, 0))
case(9, NO_CORE)(put("mapping/core", 0, 1))
case(9, NO_CORE)(put("mapping/core", 2, 256))
case(9, NO_CORE)(put("mapping/core", 0, -1))
for name in schema.RANGES:
    sentence = f"/mapping/{name} has a range outside its layer"
    case(9, sentence)(put(f"mapping/{name}", (0, 0), -1))
    case(9, sentence)(put(f"mapping/{name}", (1, 1), 99))
    case(9, sentence)(put(f"mapping/{name}", (1, 1), -(1 << 63)))
case(9, "/mapping puts neurons of layer 'conv' on two cores or none")(
    put("mapping/columns", 1, [0, 1])
)
case(9, "/mapping puts neurons of layer 'conv' on two cores or none")(
    put("mapping/sum_columns", 1, [0, 2])
)
case(9, "/mapping puts neurons of layer 'output' on two cores or none")(
    put("mapping/channels", 2, [0, 2])
)

for name in (
    *(f"samples/{n}" for n in (*schema.SAMPLE_COLUMNS, *schema.TIME_COLUMNS, "outputs")),
    *(f"spikes/{n}" for n in schema.SPIKE_COLUMNS),
    *(f"packets/{n}" for n in schema.PACKET_COLUMNS),
    *(f"counts/{n}" for n in ("actions", "values", "layers", "cores", "pairs", "ticks")),
    "counts/active_ticks",
):
    case(10, f"dataset /{name} is missing")(lambda file, name=name: file.__delitem__(name))


@case(10, "/spikes/level is float32; it must be int16")
def levels_of_floats(file):
    replace(file, "spikes/level", column(file, "spikes", "level").astype("<f4"))


@case(10, "dataset /samples/label is missing")
def a_group_for_a_dataset(file):
    del file["samples/label"]
    file.create_group("samples/label")


@case(10, "dataset /spikes/sample is missing")
def a_dataset_for_a_group(file):
    del file["spikes"]
    file["spikes"] = 3


@case(10, "dataset /counts/ticks is missing")
def a_dataset_without_shape(file):
    del file["counts/ticks"]
    file.create_dataset("counts/ticks", data=h5py.Empty("<i8"))


@case(10, r"/samples/outputs has shape \[3, 4\]; it must be \[any, 3\]")
def a_class_too_many(file):
    replace(file, "samples/outputs", np.zeros((3, 4), "<i4"))


@case(10, "/counts/layers is not a list of fixed-length strings")
def layers_of_numbers(file):
    replace(file, "counts/layers", np.zeros(4, "<i4"))


@case(10, "/counts/layers does not name 4 rows")
def a_layer_too_few(file):
    replace(file, "counts/layers", file["counts/layers"][:3])


@case(10, "counts the action 'telepathy', which this program does not know")
def an_unknown_action(file):
    file["counts/actions"][5] = b"telepathy"


@case(10, "/counts/actions names an action twice")
def an_action_twice(file):
    file["counts/actions"][5] = b"spike_out"


@case(10, "attribute 'flushed' of /samples is missing")
def no_flushed(file):
    del file["samples"].attrs["flushed"]


@case(10, "attribute 'flushed' of /samples is not 3 int64")
def flushed_too_short(file):
    file["samples"].attrs["flushed"] = [3, 35]


@case(10, "attribute 'flushed' of /samples is not 3 int64")
def flushed_of_floats(file):
    file["samples"].attrs["flushed"] = [3.0, 35.0, 62.0]


@case(10, "/samples/finish has 3 rows, 'flushed' says 4|/samples/label has 3 rows")
def flushed_too_many_samples(file):
    file["samples"].attrs["flushed"] = [4, 35, 62]


@case(10, "/spikes/[a-z]+ has 35 rows, 'flushed' says -1")
def flushed_negative(file):
    file["samples"].attrs["flushed"] = [3, -1, 62]


@case(10, "'flushed' has 62 packets, but there is no table")
def flushed_of_a_table_that_is_not(file):
    text(file, "detail", "spikes")


case(10, "/packets/sent has 61 rows, 'flushed' says 62")(resize("packets/sent", 61))
case(10, "/packets/sent has 63 rows, 'flushed' says 62")(resize("packets/sent", 63))
case(10, "/samples/../counts/values has 2 rows, 'flushed' says 3")(resize("counts/values", 2))

# --- rules 11 to 17: samples and counts


@case(11, "the run did not finish; what was flushed is readable")
def unfinished(file):
    file.attrs["complete"] = False


@case(12, "the attributes of /counts are not those of the chip")
def other_hardware(file):
    file["counts"].attrs["synapse_memory_bits"] = 7


@case(12, "the attributes of /counts are not those of the chip")
def hardware_of_another_chip(file):
    text(file["counts"], "chip", "loihi14")


@case(13, "/counts/layers and /counts/cores are not the rows of /mapping")
def layers_in_another_order(file):
    file["counts/layers"][:] = file["counts/layers"][:][::-1]


case(13, "/counts/layers and /counts/cores are not the rows of /mapping")(put("counts/cores", 3, 5))


def tally(action, *, sample=1, row=3, by=1):
    return add("counts/values", (sample, row, list(ACTIONS).index(action)), by)


case(14, r"active_ticks of counts have shape \[3\]; there are 4 rows")(
    resize("counts/active_ticks", 3)
)
case(14, "counts hold a negative tally")(tally("spike_in", by=-99))
case(14, "counts of sample 1, layer 'output', core 2 do not add up")(tally("skip_act"))
case(14, "counts of sample 2, layer 'conv', core 0 do not add up")(
    tally("xnor_event", sample=2, row=1)
)
case(14, "counts of sample 0, layer 'conv', core 1 do not add up")(add("counts/pairs", 2, 5))


@case(10, "attribute 'cores_used' of /counts is missing")
def no_hardware(file):
    del file["counts"].attrs["cores_used"]


for action, names in {
    "packet_out": "packet_out and spike_in",
    "token_out": "token_out and token_in",
    "hop_local": r"hop_local and packet_out \+ token_out",
    "fifo_push": r"fifo_push and spike_in \+ token_in",
    "fifo_pop": "fifo_pop and fifo_push",
    "axon_read": "axon_read and spike_in",
    "acc_add": r"acc_add and xnor_event \+ graded_event",
    "neuron_update_idle": r"neuron_update_active \+ neuron_update_idle and the neurons",
}.items():
    case(15, f"counts of sample 1: {names} differ")(tally(action))

case(16, "/samples has a label below -1, or a prediction that is no class of 3")(
    put("samples/label", 0, -2)
)
case(16, "/samples has a label below -1, or a prediction that is no class of 3")(
    put("samples/prediction", 2, 3)
)
case(16, "/samples has a label below -1, or a prediction that is no class of 3")(
    put("samples/prediction", 1, -1)
)
case(17, "a sample of /samples finishes before it starts")(put("samples/finish", 0, -5))
case(17, "a sample of /samples finishes before it starts")(put("samples/start", 0, -5))
case(17, "/samples/start or /samples/finish does not ascend")(put("samples/start", 1, 40))
case(17, "/samples/start or /samples/finish does not ascend")(put("samples/finish", 1, 80))
case(17, "/counts/ticks is 71, /samples says 70")(put("counts/ticks", 0, 71))
case(17, f"/counts/ticks is 70, /samples says {2**63 - 1}")(put("samples/finish", 2, 2**63 - 1))
case(17, "/counts/active_ticks has a negative number")(put("counts/active_ticks", 0, -1))
case(17, "/counts/active_ticks has more than the 70 ticks of the run")(
    put("counts/active_ticks", 1, 71)
)


@case(17, "a run in mode 'count' has no time, but /counts has ticks")
def time_without_time(file):
    text(file, "mode", "count")
    text(file, "detail", "spikes")
    file["samples"].attrs["flushed"] = [3, 35, 0]


# --- rules 18 to 20: spikes; row 8 is [0, 1, 1, 1], row 9 [0, 1, 4, -1]


@case(18, "/spikes is not sorted by sample, layer and neuron, each once")
def spikes_in_another_order(file):
    for name in schema.SPIKE_COLUMNS:
        data = file[f"spikes/{name}"]
        data[8], data[9] = data[9], data[8]


case(18, "/spikes is not sorted by sample, layer and neuron, each once")(put("spikes/neuron", 9, 1))
case(19, "/spikes has a sample or layer that is not there")(put("spikes/sample", 34, 3))
case(19, "/spikes has a sample or layer that is not there")(put("spikes/layer", 10, 2))
case(19, "/spikes has a neuron that its layer does not have")(put("spikes/neuron", 10, 8))
case(19, "/spikes has a neuron that its layer does not have")(put("spikes/neuron", 7, 2**32 - 1))
case(19, "/spikes has a level that its layer cannot send")(put("spikes/level", 9, 0))
case(19, "/spikes has a level that its layer cannot send")(put("spikes/level", 9, -2))
case(19, "/spikes has a level that its layer cannot send")(put("spikes/level", 0, 4))
case(19, "/spikes has a level that its layer cannot send")(put("spikes/level", 0, -1))
case(20, "/spikes and the counts differ in spike_out of sample 0, row 1: 0, 1")(
    put("spikes/neuron", 9, 3)  # it sits on the other core
)
case(20, "/spikes and the counts differ in spike_out of sample 0, row 0: 9, 10")(
    put("spikes/level", 0, 1)  # one bit less
)


# --- rules 21 to 24: packets; row 0 is [0, 0, 1, 1, 1, 1, 2], row 13 a token to core 1,
# row 21 [0, 1, 4, 3, -1, 19, 24]

case(21, "/packets is not sorted by delivered, or has a packet sent after it was delivered")(
    put("packets/delivered", 5, 2)
)
case(21, "/packets is not sorted by delivered, or has a packet sent after it was delivered")(
    put("packets/sent", 0, 3)
)
case(21, "/packets has one sent before its sample starts")(put("packets/sent", 15, 15))
case(22, "/packets has a sample, source or target that is not there")(put("packets/sample", 61, 3))
case(22, "/packets has a sample, source or target that is not there")(put("packets/source", 0, 4))
case(22, "/packets has a sample, source or target that is not there")(put("packets/target", 0, 4))
case(22, "/packets has a packet to a core of another layer than the next")(
    put("packets/target", 0, 3)
)
case(22, "/packets has a packet to a core of another layer than the next")(
    put("packets/target", 13, 0)
)
case(22, "/packets has a packet to a core of another layer than the next")(
    put("packets/source", 21, 3)
)
case(22, "/packets has a neuron that its layer does not have")(put("packets/neuron", 21, 8))
case(22, "/packets has a packet from a core that its neuron does not sit on")(
    put("packets/neuron", 21, 5)
)
case(22, "/packets has a token with a payload, or a spike without")(put("packets/payload", 13, 1))
case(22, "/packets has a token with a payload, or a spike without")(put("packets/payload", 0, 0))
case(23, "/packets and the counts differ in spike_in of sample 0, row 1: 5, 6")(
    put("packets/target", 0, 2)
)
case(23, "/packets and the counts differ in packet_out of sample 0, row 0: ")(
    put("packets/sample", 15, 0)
)
case(23, "/packets and the counts differ in token_in of sample 0, row 1: 0, 1")(
    put("packets/target", 13, 2)
)


@case(23, "/packets and the counts differ in token_out of sample 0, row 1: 0, 1")
def a_token_of_another_core(file):
    assert column(file, "packets", "neuron")[22] == TOKEN
    file["packets/source"][22] = 2


case(24, "/packets has a payload that its neuron did not send")(put("packets/payload", 21, 1))
case(24, "/packets has a payload that its neuron did not send")(put("packets/payload", 0, 3))
case(24, "/packets has a payload that its neuron did not send")(
    put("packets/payload", 5, 1)  # a bit that is not set
)
case(24, "/packets has a payload that its neuron did not send")(
    put("packets/neuron", 21, 0)  # a neuron of that core that is at rest
)


# --- rules 25 to 28: hops; rows are tick, packet, link, waited.  Row 0 is [1, 0, 2, 0], row 3 the
# delivery [4, 2, 4, 0] in core 0, row 10 [8, 6, 4, 0] the next one there, row 150 [82, 82, 0, 1]

case(25, "/hops has a router that the chip does not have")(put("hops/link", 0, 16 * 16 * 5))
case(25, "/hops is not sorted by time")(put("hops/tick", 5, 3))
case(25, "/hops is not sorted by time")(put("hops/tick", 0, 2**63 - 1))
case(25, "/hops delivers 365 packets, /packets has 366")(put("hops/link", 3, 0))
case(26, "/hops has a packet that does not go the way from its source to its target")(
    put("hops/link", 3, 9)  # into a core of another tile
)
case(26, "/hops has a packet that does not go the way from its source to its target")(
    put("hops/link", 0, 0)  # right, and not down
)
case(26, "/hops has a packet that does not go the way from its source to its target")(
    put("hops/tick", 3, 5)  # delivered late
)
case(26, "/hops has a packet that does not go the way from its source to its target")(
    put("hops/packet", 3, 6)  # two deliveries of one packet
)
case(26, "/hops has a packet that does not go the way from its source to its target")(
    put("hops/packet", 0, 9_999)  # a way without a beginning
)
case(27, "/hops has a packet that waits too long for its link, or not long enough")(
    put("hops/waited", 150, 0)
)
case(27, "/hops has a packet that waits too long for its link, or not long enough")(
    put("hops/waited", 0, 2**32 - 1)
)
case(27, "/hops has a packet that waits too long for its link, or not long enough")(
    put("hops/waited", 3, 1)  # in a core
)


@case(26, "/hops has rows of a packet after its delivery, or of none")
def a_row_too_many(file):
    rows = len(file["hops/tick"])
    for name, value in (("tick", 10**6), ("packet", 10**6), ("link", 0), ("waited", 0)):
        file[f"hops/{name}"].resize(rows + 1, axis=0)
        file[f"hops/{name}"][rows] = value
    file["samples"].attrs["flushed"] = [*file["samples"].attrs["flushed"][:3], rows + 1]


for action in ("hop_x", "hop_y"):
    case(28, f"/hops and the counts differ in {action}")(tally(action))


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


def test_every_rule_of_the_document_has_a_case():
    section = PAGE.read_text().split("## Validity")[1].split("\n## ")[0]
    numbers = [int(n) for n in re.findall(r"^(\d+)\. ", section, re.MULTILINE)]
    assert numbers == list(range(1, 29))
    assert {1, *(c.values[0] for c in CASES)} == set(numbers)
    folder = HERE.parent / "neuromorph" / "trace"
    source = "".join((folder / f"{name}.py").read_text() for name in ("validate", "hop_rules"))
    named = {int(n) for n in re.findall(r"(?:yield|_agree\(|once\(\s*)\s*\(?\s*(\d+),", source)}
    assert named == set(numbers) - set(OPENING)


def test_the_document_names_everything_there_is():
    page = PAGE.read_text()
    names = [
        *schema.ROOT_ATTRIBUTES,
        *schema.META,
        *schema.MAPPING_COLUMNS,
        *schema.RANGES,
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
