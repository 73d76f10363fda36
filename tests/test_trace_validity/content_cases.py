"""Rules 11 to 28: samples, counts, spikes, packets, hops."""

from validity_kit import add, case, column, put, resize, text

from neuromorph.events import ACTIONS
from neuromorph.mapping.packets import TOKEN
from neuromorph.trace import schema

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
    "hop_local": r"hop_local and packet_out \+ token_out \+ partial_out",
    "fifo_push": r"fifo_push and spike_in \+ token_in \+ partial_in",
    "fifo_pop": "fifo_pop and fifo_push",
    "axon_read": "axon_read and spike_in",
    "acc_add": r"acc_add and xnor_event \+ graded_event \+ partial_in",
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
case(22, "/packets has a packet to a core of a layer that does not hear")(
    put("packets/target", 0, 3)
)
case(22, "/packets has a packet to a core of a layer that does not hear")(
    put("packets/target", 13, 0)
)
case(22, "/packets has a packet to a core of a layer that does not hear")(
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
