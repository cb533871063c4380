"""Makes moving_over.json: the rates, and the momenta, that other libraries use where the guide names them.

    pip install torch keras optax fastai fastdownload tensorflow-cpu tf_keras
    python tests/data/moving_over.py CALLBACKS > tests/data/moving_over.json

CALLBACKS is a folder with five files of Keras callbacks that are in no package: clr_callback.py of bckenstler/CLR at 968cf5a,
cyclical_learning_rate.py and snapshot.py of keras-contrib at 3fc5ef7, one_cycle.py of psklight/keras_one_cycle_clr at d9588bd
(with its two setters in place of the import), extra.py of nupam/keras-callbacks at 11ec743. They run as they are; only the
optimizer that they write to is a stand-in, so that what they write is read in full precision.
"""

import importlib
import json
import math
import os
import sys
import tempfile
import types
import warnings

warnings.filterwarnings("ignore")
os.environ.update(KERAS_BACKEND="torch", JAX_PLATFORMS="cpu", TF_CPP_MIN_LOG_LEVEL="3")

import jax
import keras
import numpy as np
import optax
import torch
from torch.optim import lr_scheduler as torch_schedulers

jax.config.update("jax_enable_x64", True)
keras.config.set_floatx("float64")

CASES = {}
VERSIONS = {"torch": torch.__version__.split("+")[0], "keras": keras.__version__, "optax": optax.__version__}


def put(name, points, **more):
    """Points are [update, rate] or [update, rate, momentum]."""
    assert name not in CASES, name
    CASES[name] = {"points": [[p if isinstance(p, int) else float(p) for p in point] for point in points], **more}


def some(total, extra=()):
    """Updates to look at: the first ones, some in between, and those around what is special."""
    near = {s + d for s in extra for d in (-1, 0, 1)}
    return sorted(s for s in {0, 1, 2, 3} | set(range(0, total, max(total // 16, 1))) | near | {total - 1} if 0 <= s < total)


def torch_points(schedule, steps, lr=0.1, optimizer=torch.optim.SGD, **options):
    parameter = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    parameter.grad = torch.zeros_like(parameter)
    optimizer = optimizer([parameter], lr=lr, **options)
    scheduler = schedule(optimizer)
    points = []
    for step in range(max(steps) + 1):
        group = optimizer.param_groups[0]
        if step in steps:
            momentum = group["betas"][0] if "betas" in group else group["momentum"]
            points.append([step, group["lr"], momentum] if momentum else [step, group["lr"]])
        optimizer.step()
        scheduler.step()
    return points


def pytorch():
    s = torch_schedulers
    cyclic = some(9000, (2000, 4000, 6000, 8000))
    for mode, gamma in (("triangular", 1.0), ("triangular2", 1.0), ("exp_range", 0.9999)):
        schedule = lambda o: s.CyclicLR(o, 1e-3, 6e-3, step_size_up=2000, mode=mode, gamma=gamma)
        put(f"torch CyclicLR {mode}", torch_points(schedule, cyclic, momentum=0.9))
    for mode, function in (("cycle", lambda c: 1 / c), ("iterations", lambda t: 1 / (1 + t / 500))):
        schedule = lambda o: s.CyclicLR(o, 1e-3, 6e-3, step_size_up=2000, scale_fn=function, scale_mode=mode)
        put(f"torch CyclicLR scale_fn {mode}", torch_points(schedule, cyclic, momentum=0.9))
    schedule = lambda o: s.OneCycleLR(o, 0.02, total_steps=900)
    put("torch OneCycleLR", torch_points(schedule, some(900, (269, 270)), optimizer=torch.optim.Adam))
    put("torch CosineAnnealingWarmRestarts", torch_points(lambda o: s.CosineAnnealingWarmRestarts(o, 10, 2, 0.001), some(80, (10, 30, 70))))
    put("torch ConstantLR", torch_points(lambda o: s.ConstantLR(o), some(20, (5,))))
    put("torch LinearLR", torch_points(lambda o: s.LinearLR(o), some(20, (5,))))
    put("torch StepLR", torch_points(lambda o: s.StepLR(o, 30), some(100, (30, 60, 90))))
    put("torch MultiStepLR", torch_points(lambda o: s.MultiStepLR(o, [30, 80]), some(100, (30, 80))))
    put("torch ExponentialLR", torch_points(lambda o: s.ExponentialLR(o, 0.99), some(200)))
    put("torch PolynomialLR", torch_points(lambda o: s.PolynomialLR(o, total_iters=50, power=2.0), some(60, (50,))))
    put("torch CosineAnnealingLR", torch_points(lambda o: s.CosineAnnealingLR(o, T_max=50, eta_min=0.001), some(51)))
    parts = lambda o: s.SequentialLR(o, [s.LinearLR(o), s.CosineAnnealingLR(o, 40, 0.001)], milestones=[5])
    put("torch SequentialLR", torch_points(parts, some(46, (5,))))
    put("torch LambdaLR", torch_points(lambda o: s.LambdaLR(o, lambda t: 1 / (1 + t) ** 0.5), some(50)))

    # 0.49993 is better than 0.5 by PyTorch's default threshold, a share, and not by Keras', a difference. None ties with either.
    parameter = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    plateau = s.ReduceLROnPlateau(optimizer, factor=0.5, patience=3)
    rates = []
    for epoch, metric in enumerate(METRICS):
        plateau.step(metric)
        rates.append([epoch, optimizer.param_groups[0]["lr"]])
    put("torch ReduceLROnPlateau", rates, metrics=METRICS)

    clipped = []
    for step, gradient in enumerate(GRADIENTS):
        parameter = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        norm = torch.nn.utils.clip_grad_norm_([parameter], 1.0)
        clipped.append([step, float(norm), *parameter.grad.tolist()])
    put("torch clip_grad_norm_", clipped, gradients=GRADIENTS)

    # Where RMSprop of PyTorch is after 200 updates with one and the same gradient. The rest are dfdx's defaults.
    moved = []
    for n, gradient in enumerate(CONSTANT_GRADIENTS):
        parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        optimizer = torch.optim.RMSprop([parameter], lr=0.01, alpha=0.9, eps=1e-8)
        for _ in range(200):
            parameter.grad = torch.full((1,), gradient, dtype=torch.float64)
            optimizer.step()
        moved.append([n, parameter.item()])
    put("torch RMSprop", moved, gradients=CONSTANT_GRADIENTS)



METRICS = [1.0, 0.8, 0.9, 0.85, 0.95, 0.9, 0.7, *[0.75] * 9, 0.5, 0.49999, 0.49998, 0.49993, 0.49999, *[0.6] * 9]
GRADIENTS = [[0.1, 0.2, 0.2], [3.0, 4.0, 12.0], [-0.6, 0.8, 0.0], [1e-9, 0.0, -1e9], [0.0, 0.0, 0.0]]
CONSTANT_GRADIENTS = [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0]


def of_function(function, steps):
    return [[step, float(function(step))] for step in steps]


def keras_3():
    s = keras.optimizers.schedules
    put("keras CosineDecayRestarts", of_function(s.CosineDecayRestarts(0.1, 10), some(80, (10, 30, 70))))
    put("keras CosineDecayRestarts m_mul alpha", of_function(s.CosineDecayRestarts(0.1, 10, t_mul=1.0, m_mul=0.8, alpha=0.01), some(80, (10, 20, 30))))
    put("keras PiecewiseConstantDecay", of_function(s.PiecewiseConstantDecay([30, 80], [0.1, 0.05, 0.025]), some(100, (30, 80))))
    put("keras PiecewiseConstantDecay any", of_function(s.PiecewiseConstantDecay([30, 80], [0.1, 0.07, 0.2]), some(100, (30, 80))))
    put("keras ExponentialDecay", of_function(s.ExponentialDecay(0.1, 100, 0.5), some(1000)))
    put("keras ExponentialDecay staircase", of_function(s.ExponentialDecay(0.1, 100, 0.5, staircase=True), some(1000, (100, 200, 900))))
    put("keras PolynomialDecay", of_function(s.PolynomialDecay(0.1, 50, end_learning_rate=0.001, power=2.0), some(60, (50,))))
    put("keras CosineDecay", of_function(s.CosineDecay(0.1, 50, alpha=0.01), some(60, (50,))))
    put("keras CosineDecay warmup", of_function(s.CosineDecay(0.0, 50, alpha=0.01, warmup_target=0.1, warmup_steps=10), some(70, (10, 60))))
    put("keras InverseTimeDecay", of_function(s.InverseTimeDecay(0.1, 100, 0.5), some(1000)))

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")

    callback = keras.callbacks.LearningRateScheduler(lambda epoch, lr: 0.1 / (1 + epoch))
    callback.set_model(model)
    points = []
    for step in range(40):
        if step % 10 == 0:
            callback.on_epoch_begin(step // 10)
        points.append([step, float(model.optimizer.learning_rate)])
    put("keras LearningRateScheduler", [points[step] for step in some(40, (10, 20, 30))])

    model.optimizer.learning_rate = 0.1
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=3)
    plateau.set_model(model)
    plateau.on_train_begin()
    rates = []
    for epoch, metric in enumerate(METRICS):
        plateau.on_epoch_end(epoch, {"loss": metric})
        rates.append([epoch, float(model.optimizer.learning_rate)])
    put("keras ReduceLROnPlateau", rates, metrics=METRICS)

    stops = []
    for patience in range(1, 8):
        stopping = keras.callbacks.EarlyStopping(monitor="loss", patience=patience)
        stopping.set_model(model)
        stopping.on_train_begin()
        model.stop_training = False
        for epoch, metric in enumerate(METRICS):
            stopping.on_epoch_end(epoch, {"loss": metric})
            if model.stop_training:
                break
        stops.append([patience, epoch if model.stop_training else -1])
    put("keras EarlyStopping", stops, metrics=METRICS)


def keras_2():
    """The optimizers that still had `decay`, with CyclicLR of bckenstler/CLR around them."""
    import tf_keras
    from tf_keras.src.optimizers.legacy.adam import Adam
    import tensorflow as tf

    VERSIONS["tf_keras"] = tf_keras.__version__
    tf_keras.backend.set_floatx("float64")
    gradient = tf.constant([1.0], dtype=tf.float64)

    def points(rate, steps):
        # Its learning rate is a float until the first update, and float32 after it.
        adam = Adam(learning_rate=rate(0), decay=1e-3)
        weight = tf.Variable([1.0], dtype=tf.float64)
        points = []
        for step in range(max(steps) + 1):
            adam.learning_rate = rate(step)
            if step in steps:
                points.append([step, float(adam._decayed_lr(tf.float64))])
            adam.apply_gradients([(gradient, weight)])
        return points

    clr = callback("clr_callback").CyclicLR(base_lr=1e-3, max_lr=6e-3, step_size=200)

    def cycle(step):
        clr.clr_iterations = float(step)
        return float(clr.clr())

    put("keras 2 decay", points(lambda _: 0.1, some(900)))
    put("keras 2 decay around a cycle", points(cycle, some(900, (200, 400, 600, 800))))


class Anything(types.ModuleType):
    """A stand-in for whatever the callbacks import and do not need."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *args, **options: None})


def callback(module):
    """A file of callbacks, over a stand-in for Keras that has the setter and the getter which they use."""
    backend = Anything("backend")
    backend.epsilon = lambda: 1e-7
    backend.set_value = lambda variable, value: variable.__setitem__(0, value)
    backend.get_value = lambda variable: variable[0]
    callbacks = Anything("callbacks")
    callbacks.Callback = type("Callback", (), {"__init__": lambda self: None})
    callbacks.__all__ = ["Callback"]
    base = Anything("keras")
    base.backend, base.callbacks = backend, callbacks
    around = Anything("tensorflow")
    around.keras = base
    names = {"keras": base, "keras.backend": backend, "keras.callbacks": callbacks, "tensorflow": around}
    names |= {f"tensorflow.{name}": part for name, part in names.items() if name.startswith("keras")}
    names |= {"matplotlib": Anything("matplotlib"), "matplotlib.pyplot": Anything("pyplot")}
    kept = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    try:
        return importlib.import_module(module)
    finally:
        for name, part in kept.items():
            sys.modules.pop(name)
            if part is not None:
                sys.modules[name] = part


def run_callback(made, total, steps, **params):
    """The rate and the momentum during each update of a run with this callback."""
    Adam = type("Adam", (), {})
    made.model = types.SimpleNamespace(optimizer=Adam(), stop_training=False)
    made.model.optimizer.lr, made.model.optimizer.beta_1 = [0.01], [math.nan]
    made.params = {"epochs": 1, "batch_size": 1, "samples": total, "steps": total, "verbose": 0, **params}
    made.on_train_begin()
    points = []
    for step in range(total):
        for hook in ("on_batch_begin", "on_train_batch_begin"):
            getattr(made, hook, lambda *_: None)(step)
        plain = lambda value: value[0] if isinstance(value, list) else value
        lr, momentum = plain(made.model.optimizer.lr), plain(made.model.optimizer.beta_1)
        if step in steps:
            points.append([step, lr] if math.isnan(momentum) else [step, lr, momentum])
        for hook in ("on_batch_end", "on_train_batch_end"):
            getattr(made, hook, lambda *_: None)(step)
    return points


def keras_callbacks():
    steps = some(9000, (2000, 4000, 6000, 8000))
    for source, module in (("bckenstler/CLR", "clr_callback"), ("keras-contrib", "cyclical_learning_rate")):
        cyclic = callback(module).CyclicLR
        for mode, gamma in (("triangular", 1.0), ("triangular2", 1.0), ("exp_range", 0.9999)):
            made = cyclic(base_lr=1e-3, max_lr=6e-3, step_size=2000, mode=mode, gamma=gamma)
            put(f"{source} CyclicLR {mode}", run_callback(made, 9000, steps))
        for mode, function in (("cycle", lambda c: 1 / c), ("iterations", lambda t: 1 / (1 + t / 500))):
            made = cyclic(base_lr=1e-3, max_lr=6e-3, step_size=2000, scale_fn=function, scale_mode=mode)
            put(f"{source} CyclicLR scale_fn {mode}", run_callback(made, 9000, steps))
    made = callback("one_cycle").OneCycle((0.01, 0.1), (0.95, 0.85))
    put("keras_one_cycle_clr OneCycle", run_callback(made, 900, some(900, (270,))))
    made = callback("extra").CyclicLRCallback(max_lr=0.01, cycles=2, decay=0.5)
    put("keras-callbacks CyclicLRCallback", run_callback(made, 200, some(200, (30, 100, 130))))
    snapshots = callback("snapshot").SnapshotCallbackBuilder(200, 5, 0.1)
    put("keras-contrib SnapshotCallbackBuilder", of_function(snapshots._cosine_anneal_schedule, some(200, (40, 80, 120, 160))))


def optax_points():
    steps = some(900, (270, 900))
    put("optax cosine_onecycle_schedule", of_function(optax.cosine_onecycle_schedule(900, 0.02), steps))
    put("optax linear_onecycle_schedule", of_function(optax.linear_onecycle_schedule(900, 0.02), some(900, (270, 765))))
    cycles = [dict(init_value=0.0, peak_value=0.1, warmup_steps=0, decay_steps=10 * 2**n, end_value=0.001) for n in range(3)]
    put("optax sgdr_schedule", of_function(optax.sgdr_schedule(cycles), some(80, (10, 30, 70))))
    put("optax constant_schedule", of_function(optax.constant_schedule(0.1), some(20)))
    put("optax linear_schedule", of_function(optax.linear_schedule(0.1, 0.001, 50), some(60, (50,))))
    put("optax piecewise_constant_schedule", of_function(optax.piecewise_constant_schedule(0.1, {30: 0.1, 80: 0.1}), some(100, (30, 80))))
    put("optax exponential_decay", of_function(optax.exponential_decay(0.1, 100, 0.5), some(1000)))
    put("optax exponential_decay staircase", of_function(optax.exponential_decay(0.1, 100, 0.5, staircase=True), some(1000, (100, 200, 900))))
    put("optax polynomial_schedule", of_function(optax.polynomial_schedule(0.1, 0.001, 2.0, 50), some(60, (50,))))
    put("optax cosine_decay_schedule", of_function(optax.cosine_decay_schedule(0.1, 50, alpha=0.01), some(60, (50,))))
    joined = optax.join_schedules([optax.constant_schedule(0.02), optax.cosine_decay_schedule(0.1, 50)], [10])
    put("optax join_schedules", of_function(joined, some(70, (10, 60))))
    warm = optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, 60, 0.001)
    put("optax warmup_cosine_decay_schedule", of_function(warm, some(70, (10, 60))))


def fastai_points():
    import fastai
    from fastai.callback import schedule as s
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner
    from fastai.losses import MSELossFlat

    VERSIONS["fastai"] = fastai.__version__
    along = lambda function, total, extra=(): [[step, function(step / total)] for step in some(total, extra)]
    put("fastai SchedNo", along(s.SchedNo(0.1, 0.2), 50))
    put("fastai SchedLin", along(s.SchedLin(0.1, 0.001), 50))
    put("fastai SchedCos", along(s.SchedCos(0.1, 0.001), 50))
    put("fastai SchedExp", along(s.SchedExp(0.1, 0.001), 50))
    put("fastai SchedPoly", along(s.SchedPoly(0.1, 0.001, 2.0), 50))
    put("fastai combined_cos", along(s.combined_cos(0.25, 0.01, 0.1, 0.001), 900, (225,)))
    parts = s.combine_scheds([0.25, 0.75], [s.SchedLin(0.01, 0.1), s.SchedCos(0.1, 0.001)])
    put("fastai combine_scheds", along(parts, 100, (25,)))

    class Pairs(torch.utils.data.Dataset):
        def __len__(self):
            return 90

        def __getitem__(self, n):
            return torch.ones(1), torch.ones(1)

    def learner():
        loaders = [DataLoader(Pairs(), bs=2, num_workers=0) for _ in range(2)]
        return Learner(DataLoaders(*loaders), torch.nn.Linear(1, 1), loss_func=MSELossFlat(), path=tempfile.mkdtemp())

    def points(fit, extra):
        made = learner()
        with made.no_bar(), made.no_logging():
            hps = fit(made) or made.recorder.hps
        return [[step, *(float(np.ravel(hps[name][step])[-1]) for name in hps)] for step in some(len(hps["lr"]), extra)]

    put("fastai fit_one_cycle", points(lambda made: made.fit_one_cycle(20, 0.02), (225,)))
    put("fastai fit_sgdr", points(lambda made: made.fit_sgdr(3, 1, 0.02), (45, 135)))

    def find(made):
        """What `lr_find` does, which keeps no record."""
        finder = s.LRFinder(stop_div=False)
        made.fit(3, cbs=finder)
        return finder.hps

    put("fastai lr_find", points(find, (99,)))


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    pytorch()
    keras_3()
    keras_callbacks()
    optax_points()
    fastai_points()
    keras_2()
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(case, separators=(',', ':'))}" for name, case in CASES.items())
    print(f'{{"versions": {json.dumps(VERSIONS)},\n"cases": {{\n{rows}\n}}}}')
