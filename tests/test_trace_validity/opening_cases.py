"""Rules 1 to 10: what keeps a file from being opened."""

import h5py
import numpy as np
from validity_kit import case, column, edit, edit_layer, put, replace, resize, text

from neuromorph.trace import schema


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
