"""The models once more, in NumPy and float64: fully connected networks and the paper's losses.

Weights are `{variable path: array}`. Nothing here uses the package.
"""

import numpy as np
from keras import ops
from scipy import stats


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


ACTIVATIONS = {"tanh": np.tanh, "softplus": lambda x: np.log1p(np.exp(x))}
DERIVATIVES = {"tanh": lambda x: 1.0 - np.tanh(x) ** 2, "softplus": sigmoid}


def weights_of(model):
    """The model's trainable weights as float64, by path."""
    return {
        variable.path: ops.convert_to_numpy(variable).astype("float64")
        for variable in model.trainable_variables
    }


# ---- networks ----


def layer(weights, name, spectral=False):
    """Kernel and bias of a dense layer; the kernel divided by its largest singular value if asked."""
    kernel, bias = weights[f"{name}/kernel"], weights[f"{name}/bias"]
    return (kernel / np.linalg.svd(kernel)[1][0] if spectral else kernel), bias


def hidden_layers(weights, network, spectral=False):
    """The hidden dense layers of a network, in order."""
    names = [f"{network}_dense_{i}" for i in range(9)]
    return [layer(weights, name, spectral) for name in names if f"{name}/kernel" in weights]


def affine(x, kernel_and_bias):
    kernel, bias = kernel_and_bias
    return x @ kernel + bias


def encode(weights, x, activation="tanh"):
    """Mean and log-variance of q(z|x), `(B, Z)` each."""
    h = x.reshape(len(x), -1)
    for kernel_and_bias in hidden_layers(weights, "encoder"):
        h = ACTIVATIONS[activation](affine(h, kernel_and_bias))
    return tuple(affine(h, layer(weights, f"encoder_{part}")) for part in ("mean", "log_variance"))


def decode(weights, z, activation="tanh"):
    """Pixels of p(x|z), `(B, H * W * C)`."""
    for kernel_and_bias in hidden_layers(weights, "decoder"):
        z = ACTIVATIONS[activation](affine(z, kernel_and_bias))
    return sigmoid(affine(z, layer(weights, "decoder_logits")))


def discriminate(weights, x, activation="softplus", spectral=False):
    """Logit `(B,)`, features `(B, F)` and the gradient of the logit `(B, H * W * C)`."""
    h, before = x.reshape(len(x), -1), []
    hidden = hidden_layers(weights, "discriminator", spectral)
    for kernel_and_bias in hidden:
        before.append(affine(h, kernel_and_bias))
        h = ACTIVATIONS[activation](before[-1])
    head = layer(weights, "discriminator_logits", spectral)
    gradient = np.repeat(head[0].T, len(x), axis=0)
    for (kernel, _), outputs in zip(reversed(hidden), reversed(before), strict=True):
        gradient = (gradient * DERIVATIVES[activation](outputs)) @ kernel.T
    return affine(h, head)[:, 0], before[-1], gradient


# ---- losses ----


def losses(weights, x, noise, **arguments):
    """What the model should report for each image, `{log name: (B,)}`; its players are among them.

    Args:
        x: images `(B, H, W, C)`.
        noise: `(2, B, Z)`: for the posterior's draw and the prior's.
        arguments: those of `VAE` and `VAEGAN`, and `spectral` for the discriminator.
    """
    x = np.float64(x).reshape(len(x), -1)
    noise = np.float64(noise)
    mean, log_variance = encode(weights, x)
    x_tilde = decode(weights, mean + np.exp(log_variance / 2) * noise[0])
    logs, kl, pixels = bound(x, x_tilde, mean, np.exp(log_variance), **arguments)
    if not any(path.startswith("discriminator") for path in weights):
        return logs | {"generator": arguments.get("beta", 1.0) * kl + pixels}
    return logs | game(weights, x, x_tilde, decode(weights, noise[1]), kl, pixels, **arguments)


def bound(x, x_tilde, mean, variance, likelihood="bernoulli", noise_scale=0.1, free_bits=0.0, **_):
    """The negative bound and its parts; the KL as it is descended; -log p(x|z)."""
    kl = (mean**2 + variance - 1.0 - np.log(variance)) / 2
    if likelihood == "bernoulli":
        pixels = -np.sum(x * np.log(x_tilde) + (1.0 - x) * np.log(1.0 - x_tilde), axis=1)
    else:
        pixels = -np.sum(stats.norm.logpdf(x, x_tilde, noise_scale), axis=1)
    above = kl.mean(axis=0) > free_bits
    total = kl.sum(axis=1)
    logs = {"loss": total + pixels, "kl": total, "reconstruction": pixels}
    return logs, np.where(above, kl, free_bits).sum(axis=1) if free_bits else total, pixels


def game(
    weights,
    x,
    x_tilde,
    x_prior,
    kl,
    pixels,
    beta=1.0,
    gamma=1.0,
    pixel_weight=0.0,
    three_players=False,
    label_smoothing=0.0,
    r1=0.0,
    spectral=False,
    **_,
):
    """The players' losses and what is reported of D."""
    real, real_features, gradient = discriminate(weights, x, spectral=spectral)
    recon, recon_features, _ = discriminate(weights, x_tilde, spectral=spectral)
    prior, _, _ = discriminate(weights, x_prior, spectral=spectral)
    d_real, d_recon, d_prior = sigmoid(real), sigmoid(recon), sigmoid(prior)

    features = np.sum((real_features - recon_features) ** 2, axis=1) / 2
    fooling = -np.log(d_recon) - np.log(d_prior)
    truth = 1.0 - label_smoothing
    judging = -truth * np.log(d_real) - (1.0 - truth) * np.log(1.0 - d_real)
    judging = judging - np.log(1.0 - d_recon) - np.log(1.0 - d_prior)
    penalty = np.sum(gradient**2, axis=1) / 2
    if three_players:
        players = {
            "encoder": beta * kl + features + pixel_weight * pixels,
            "generator": gamma * features + pixel_weight * pixels + fooling,
        }
    else:
        players = {"generator": beta * kl + gamma * features + pixel_weight * pixels + fooling}
    return players | {
        "discriminator": judging + r1 * penalty,
        "feature_matching": features,
        "d_real": d_real,
        "d_fake": (d_recon + d_prior) / 2,
    }


# ---- gradients ----


def owned(weights, player, three_players=False, **_):
    """The paths of the variables that a player owns."""
    networks = {
        "generator": ("decoder",) if three_players else ("encoder", "decoder"),
        "encoder": ("encoder",),
        "discriminator": ("discriminator",),
    }[player]
    return [path for path in weights if path.startswith(networks)]


def gradient(weights, player, x, noise, example_weight=1.0, step=1e-5, **arguments):
    """The player's gradient with respect to its own variables, `{path: array}`, by central differences."""

    def objective():
        return np.mean(example_weight * losses(weights, x, noise, **arguments)[player])

    result = {}
    for path in owned(weights, player, **arguments):
        result[path] = np.zeros_like(weights[path])
        for index in np.ndindex(weights[path].shape):
            kept = weights[path][index]
            weights[path][index] = kept + step
            above = objective()
            weights[path][index] = kept - step
            below = objective()
            weights[path][index] = kept
            result[path][index] = (above - below) / (2 * step)
    return result


def descend(weights, players, rate, x, noise, **arguments):
    """One step of gradient descent of all players at once; returns the batch means before it."""
    before = losses(weights, x, noise, **arguments)
    gradients = [gradient(weights, player, x, noise, **arguments) for player in players]
    for player_gradient in gradients:
        for path, value in player_gradient.items():
            weights[path] = weights[path] - rate * value
    return {name: float(value.mean()) for name, value in before.items()}
