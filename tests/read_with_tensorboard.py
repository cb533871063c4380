"""Reads what the example `record` wrote with TensorBoard's own package and compares it with the CSV files beside it.

    cargo run --release --features full --example record -- --out target/record
    pip install tensorboard
    python tests/read_with_tensorboard.py target/record
"""

import csv
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def single(text):
    return struct.unpack("f", struct.pack("f", float(text)))[0]


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def run(folder):
    events = EventAccumulator(folder, size_guidance={"scalars": 0, "histograms": 0, "tensors": 0})
    events.Reload()
    return events


def compare(events, tag, index, expected):
    found = [(event.step, event.value) for event in events.Scalars(tag)]
    expected = [(int(row[index]), single(row[column])) for row, column in expected]
    assert found == expected, f"{tag}: {found[:3]}... instead of {expected[:3]}..."
    print(f"{tag}: {len(found)} steps, all equal")


out = sys.argv[1]
updates, epochs = rows(f"{out}/updates.csv"), rows(f"{out}/epochs.csv")
train, validation = run(f"{out}/tensorboard/train"), run(f"{out}/tensorboard/validation")
print("train:", train.Tags())
print("validation:", validation.Tags())
for column in ["learning_rate", "momentum", "loss"]:
    compare(train, f"update/{column}", "update", [(row, column) for row in updates])
compare(train, "epoch/loss", "epoch", [(row, "loss") for row in epochs])
compare(validation, "epoch/loss", "epoch", [(row, "val_loss") for row in epochs])
compare(validation, "epoch/accuracy", "epoch", [(row, "val_accuracy") for row in epochs])
assert len(train.Scalars("update/steps_per_second")) == len(updates) - 1
for tag in train.Tags()["histograms"]:
    histograms = train.Histograms(tag)
    assert [h.step for h in histograms] == list(range(0, len(epochs), 5)), tag
    assert all(sum(h.histogram_value.bucket) == h.histogram_value.num > 0 for h in histograms), tag
print("histograms:", train.Tags()["histograms"])
text = train.Tensors("config")[0].tensor_proto.string_val[0].decode()
assert "one_cycle" in text, text
print("the config is there as text")
