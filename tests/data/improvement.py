"""Writes improvement.txt: what Keras and PyTorch make of 10,000 rows of metrics.

    pip install keras==3.15.1 torch==2.15.0
    python improvement.py > improvement.txt

The rows come from the linear congruential generator below. tests/feedback.rs makes the same rows in the same way.

Keras compares in its default float type. `float64` is what this crate computes in. Under Keras' own default of float32
two numbers that are equal in float32 are a tie; run with `float32` as the argument to see how many rows that changes.
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "torch"

import keras
import torch

ROWS, REPORTS = 10_000, 12
STATE = 1


def draw(n):
    """A number from 0 to n - 1."""
    global STATE
    STATE = (STATE * 6364136223846793005 + 1442695040888963407) % 2**64
    return (STATE >> 33) % n


def row():
    """The settings and the metrics of a row. All metrics and deltas are whole hundredths."""
    maximum, relative, delta = draw(2) == 1, draw(2) == 1, draw(11)
    patience, cooldown, start_from, baseline, eps = draw(4), draw(3), draw(3), draw(4), draw(4)
    k = 10 * draw(10) + 10
    settings = {
        "mode": "max" if maximum else "min",
        "relative": relative,
        "delta": delta / 100,
        "patience": patience,
        "cooldown": cooldown,
        "start_from": start_from,
        "baseline": k / 100 if baseline == 0 else None,
        "eps": [1e-8, 0.0, 0.1, 0.3][eps],
    }
    metrics = []
    for _ in range(REPORTS):
        metrics.append(k / 100)
        if draw(2) == 0:
            # As much better as the delta asks for, or nearly so.
            step = k * delta // 100 if relative else delta
            k += (step if maximum else -step) + draw(3) - 1
        else:
            k += draw(21) - 10
        # Relative deltas of negative metrics are this crate's own.
        if relative:
            k = max(k, 0)
    return settings, metrics


class Model:
    """All that the callbacks ask of a model."""

    def __init__(self):
        self.optimizer = keras.optimizers.SGD(1.0)
        self.stop_training = False


def keras_plateau(settings, metrics, model):
    """The reports after which the rate is smaller, as bits from the lowest."""
    callback = keras.callbacks.ReduceLROnPlateau(
        monitor="metric",
        factor=0.5,
        patience=settings["patience"],
        mode=settings["mode"],
        min_delta=settings["delta"],
        cooldown=settings["cooldown"],
    )
    model.optimizer.learning_rate = 1.0
    callback.set_model(model)
    callback.on_train_begin()
    scaled, rate = 0, 1.0
    for report, metric in enumerate(metrics):
        callback.on_epoch_end(report, {"metric": metric})
        now = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
        scaled |= (now < rate) << report
        rate = now
    return scaled


def keras_early_stopping(settings, metrics, model):
    """The report that stops, REPORTS if none does."""
    callback = keras.callbacks.EarlyStopping(
        monitor="metric",
        min_delta=settings["delta"],
        patience=settings["patience"],
        mode=settings["mode"],
        baseline=settings["baseline"],
        start_from_epoch=settings["start_from"],
    )
    model.stop_training = False
    callback.set_model(model)
    callback.on_train_begin()
    for report, metric in enumerate(metrics):
        callback.on_epoch_end(report, {"metric": metric})
        if model.stop_training:
            return report
    return REPORTS


def pytorch_plateau(settings, metrics):
    """The reports after which the rate is smaller, as bits from the lowest."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode=settings["mode"],
        factor=0.5,
        patience=settings["patience"],
        threshold=settings["delta"],
        threshold_mode="rel" if settings["relative"] else "abs",
        cooldown=settings["cooldown"],
        eps=settings["eps"],
    )
    scaled, rate = 0, 1.0
    for report, metric in enumerate(metrics):
        scheduler.step(metric)
        now = optimizer.param_groups[0]["lr"]
        scaled |= (now < rate) << report
        rate = now
    return scaled


keras.config.set_floatx(sys.argv[1] if len(sys.argv) > 1 else "float64")
print(f"# keras {keras.__version__} in {keras.config.floatx()}, torch {torch.__version__.split('+')[0]}; by improvement.py")
print("# a row: reports that scale in Keras, in PyTorch (bits, three hexadecimal digits each), report that stops in Keras")
MODEL = Model()
for _ in range(ROWS):
    settings, metrics = row()
    in_keras = keras_plateau(settings, metrics, MODEL)
    in_pytorch = pytorch_plateau(settings, metrics)
    print(f"{in_keras:03x}{in_pytorch:03x}{keras_early_stopping(settings, metrics, MODEL):x}")
