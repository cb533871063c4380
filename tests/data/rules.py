"""Makes rules.json: what PyTorch's and optax' optimizers make of 200 updates under triangular2 with the momentum cycled.

    pip install torch optax
    python tests/data/rules.py > tests/data/rules.json

The model is w of four numbers; the loss is the mean of (x w - y)^2 over six rows, in float64, and its gradient is written out
below, so that both sides calculate the same. Before each update the rate and, where the rule has one, the momentum are set by
the published formula of the cycle. Decoupled weight decay is what AdamW does before its step: w *= 1 - lr decay.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

jax.config.update("jax_enable_x64", True)
# NAdam keeps its product of momenta in the default type.
torch.set_default_dtype(torch.float64)

X = np.array([[((3 * i + 5 * j) % 7 - 3) / 4 for j in range(4)] for i in range(6)])
Y = np.array([(i % 3) - 0.5 for i in range(6)])
START = [0.5, -0.25, 1.0, -1.0]
UPDATES, STEP_SIZE = 200, 20
LOOK = [1, 2, 3, 20, 40, 100, 200]


def gradient(w):
    return 2.0 / 6.0 * X.T @ (X @ w - Y)


def cycle(t, base_lr, max_lr):
    """Rate and momentum of update t."""
    n = np.floor(1 + t / (2 * STEP_SIZE))
    height = max(0.0, 1 - abs(t / STEP_SIZE - 2 * n + 1))
    return base_lr + (max_lr - base_lr) * height / 2 ** (n - 1), 0.95 - (0.95 - 0.85) * height


def torch_case(optimizer, rates, decoupled=0.0, **options):
    w = torch.nn.Parameter(torch.tensor(START, dtype=torch.float64))
    optimizer = optimizer([w], lr=1.0, **options)
    group, points = optimizer.param_groups[0], []
    for t in range(UPDATES):
        group["lr"], momentum = cycle(t, *rates)
        if "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        elif group.get("momentum"):
            group["momentum"] = momentum
        w.grad = torch.tensor(gradient(w.detach().numpy()))
        with torch.no_grad():
            w.mul_(1 - group["lr"] * decoupled)
        optimizer.step()
        if t + 1 in LOOK:
            points.append([t + 1, *w.detach().tolist()])
    return points


def lion_case(rates, l2=0.0, decoupled=0.0):
    w, points = jnp.array(START), []
    state = optax.scale_by_lion(b1=0.9, b2=0.99).init(w)
    for t in range(UPDATES):
        lr, momentum = cycle(t, *rates)
        direction, state = optax.scale_by_lion(b1=momentum, b2=0.99).update(gradient(np.array(w)) + l2 * w, state)
        w = w * (1 - lr * decoupled) - lr * direction
        if t + 1 in LOOK:
            points.append([t + 1, *np.array(w).tolist()])
    return points


o = torch.optim
RULES = {
    "Sgd": (o.SGD, (0.01, 0.1), dict(momentum=0.9)),
    "Sgd nesterov": (o.SGD, (0.01, 0.1), dict(momentum=0.9, nesterov=True)),
    "Adam": (o.Adam, (0.005, 0.05), {}),
    "Adagrad": (o.Adagrad, (0.05, 0.5), {}),
    "Adagrad from 0.1": (o.Adagrad, (0.05, 0.5), dict(initial_accumulator_value=0.1)),
    "Adadelta": (o.Adadelta, (1.0, 10.0), {}),
    "Adamax": (o.Adamax, (0.005, 0.05), {}),
    "Nadam": (o.NAdam, (0.005, 0.05), {}),
    "TorchRMSprop": (o.RMSprop, (0.002, 0.02), {}),
    "TorchRMSprop centered": (o.RMSprop, (0.002, 0.02), dict(centered=True)),
    "TorchRMSprop momentum": (o.RMSprop, (0.002, 0.02), dict(momentum=0.9)),
    "TorchRMSprop centered momentum": (o.RMSprop, (0.002, 0.02), dict(momentum=0.9, centered=True)),
}
CASES = {}
for name, (rule, rates, options) in RULES.items():
    for decay, kinds in [("none", {}), ("l2", dict(weight_decay=0.1)), ("decoupled", dict(decoupled=0.1))]:
        CASES[f"{name}, {decay}"] = {"rates": rates, "points": torch_case(rule, rates, **options, **kinds)}
for decay, strength in [("0.01", {}), ("0.1", dict(weight_decay=0.1))]:
    CASES[f"AdamW, {decay}"] = {"rates": (0.005, 0.05), "points": torch_case(o.AdamW, (0.005, 0.05), **strength)}
for decay, kinds in [("none", {}), ("l2", dict(l2=0.1)), ("decoupled", dict(decoupled=0.1))]:
    CASES[f"Lion, {decay}"] = {"rates": (0.001, 0.01), "points": lion_case((0.001, 0.01), **kinds)}
versions = {"torch": torch.__version__.split("+")[0], "optax": optax.__version__}
print(json.dumps({"versions": versions, "cases": CASES}, indent=0))
