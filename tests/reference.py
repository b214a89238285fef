"""The models once more, in NumPy and float64: fully connected networks and the paper's losses.

Weights are `{variable path: array}`. What a network is conditioned on are parts, flat arrays `(B, F)`
in the order labels, given, which stand behind its own input. Nothing here uses the package.
"""

import numpy as np
from keras import ops
from scipy import special, stats


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


def joined(*arrays):
    """The arrays, flattened, side by side: `(B, F)`."""
    return np.concatenate([array.reshape(len(array), -1) for array in arrays], axis=1)


def normal(weights, network, h, activation):
    """Mean and log-variance by hidden layers and a head."""
    for kernel_and_bias in hidden_layers(weights, network):
        h = ACTIVATIONS[activation](affine(h, kernel_and_bias))
    return tuple(affine(h, layer(weights, f"{network}_{part}")) for part in ("mean", "log_variance"))


def encode(weights, x, parts=(), activation="tanh"):
    """Mean and log-variance of q(z|x, c), `(B, Z)` each."""
    return normal(weights, "encoder", joined(x, *parts), activation)


def prior(weights, parts, shape, activation="tanh"):
    """Mean and log-variance of p(z|c), of the `shape` `(B, Z)` each; zeros where it is not learned."""
    if not any(path.startswith("prior") for path in weights):
        return np.zeros((2, *shape))
    return normal(weights, "prior", joined(*parts), activation)


def decode(weights, z, parts=(), activation="tanh"):
    """Pixels of p(x|z, c), `(B, H * W * C)`."""
    h = joined(z, *parts)
    for kernel_and_bias in hidden_layers(weights, "decoder"):
        h = ACTIVATIONS[activation](affine(h, kernel_and_bias))
    return sigmoid(affine(h, layer(weights, "decoder_logits")))


def discriminate(weights, x, activation="softplus", spectral=False):
    """Verdict, features `(B, F)` and the gradient of the log-odds of real, `(B, H * W * C)`.

    The verdict is one logit `(B,)`, the log-odds themselves, or logits `(B, K + 1)`.
    """
    h, before = x.reshape(len(x), -1), []
    hidden = hidden_layers(weights, "discriminator", spectral)
    for kernel_and_bias in hidden:
        before.append(affine(h, kernel_and_bias))
        h = ACTIVATIONS[activation](before[-1])
    head = layer(weights, "discriminator_logits", spectral)
    logits = affine(h, head)
    slope = np.ones((len(x), 1))
    if logits.shape[1] > 1:  # of log sum exp(classes) - fake
        slope = np.concatenate([special.softmax(logits[:, :-1], axis=1), -slope], axis=1)
    gradient = slope @ head[0].T
    for (kernel, _), outputs in zip(reversed(hidden), reversed(before), strict=True):
        gradient = (gradient * DERIVATIVES[activation](outputs)) @ kernel.T
    return logits[:, 0] if logits.shape[1] == 1 else logits, before[-1], gradient


def log_shares(logits):
    """Log-probabilities of the classes and, last, of fakes; of real and fake where there is one logit."""
    if logits.ndim == 1:
        logits = np.stack([logits, np.zeros_like(logits)], axis=1)
    return logits - special.logsumexp(logits, axis=1, keepdims=True)


# ---- the condition ----


def visible(name, height, width):
    """The mask of that name, `(H, W)`, 1 where a pixel is given."""
    top, left = slice(0, height // 2), slice(0, width // 2)
    bottom, right = slice(height // 2, None), slice(width // 2, None)
    parts = {
        "left": [(..., left)],
        "right": [(..., right)],
        "top": [(top, ...)],
        "bottom": [(bottom, ...)],
        "quadrants:1": [(bottom, left)],
        "quadrants:2": [(top, left), (bottom, left)],
        "quadrants:3": [(top, left), (bottom, left), (top, right)],
    }
    mask = np.zeros((height, width))
    for part in parts[name]:
        mask[part] = 1.0
    return mask


def one_hot(labels, num_classes):
    """`(B, K)`."""
    return (np.asarray(labels)[:, None] == np.arange(num_classes)).astype("float64")


def given_part(x, mask):
    """Images with zeros where nothing is seen, and the mask behind their channels: `(B, H, W, C + 1)`."""
    seen = np.broadcast_to(mask, x.shape[:3])[..., None].astype("float64")
    return np.concatenate([x * seen, seen], axis=3)


def condition(x, labels=None, num_classes=None, given=False, masks=("none",), **_):
    """Parts of the condition of images `(B, H, W, C)`, and their hidden pixels `(B, H * W * C)`, 1 if so."""
    parts, hidden = [], np.ones(x.shape)
    if num_classes is not None:
        parts.append(one_hot(labels, num_classes))
    if given:
        (name,) = masks
        mask = np.zeros(x.shape[1:3]) if name == "none" else visible(name, *x.shape[1:3])
        parts.append(joined(given_part(x, mask)))
        hidden = hidden * (1.0 - mask)[:, :, None]
    return parts, joined(hidden)


# ---- losses ----


def losses(weights, x, noise, labels=None, **arguments):
    """What the model should report for each image, `{log name: (B,)}`; its players are among them.

    Args:
        x: images `(B, H, W, C)`.
        noise: `(2, B, Z)`: for the posterior's draw and the prior's (with a mixture, the posterior's again).
        labels: `(B,)`, which are looked at where `num_classes` is among the arguments.
        arguments: those of the model, with a single mask, and `spectral` for the discriminator,
            `num_classes` and `given` for the condition.
    """
    if any(path.startswith("trunk") for path in weights):
        return semi_supervised(weights, joined(np.float64(x)), np.float64(noise), labels, **arguments)
    parts, hidden = condition(np.float64(x), labels, **arguments)
    x = joined(np.float64(x))
    noise = np.float64(noise)
    mean, log_variance = encode(weights, x, parts)
    center, log_spread = prior(weights, parts, mean.shape)
    x_tilde = decode(weights, mean + np.exp(log_variance / 2) * noise[0], parts)
    kl = normal_kl(mean, log_variance, center, log_spread)
    logs, kl, pixels = bound(x, x_tilde, kl, hidden, **arguments)
    if not any(path.startswith("discriminator") for path in weights):
        return logs | {"generator": arguments.get("beta", 1.0) * kl + pixels}
    if arguments.get("prior_components"):  # samples will be of the codes
        center, log_spread = mean, log_variance
    x_prior = decode(weights, center + np.exp(log_spread / 2) * noise[1], parts)
    return logs | play(weights, x, x_tilde, x_prior, kl, pixels, labels, **arguments)


def normal_kl(mean, log_variance, center, log_spread):
    """KL(N(mean, .) || N(center, .)) of each dimension."""
    ratio = np.exp(log_variance) / np.exp(log_spread)
    return (ratio + (mean - center) ** 2 / np.exp(log_spread) - 1.0 - np.log(ratio)) / 2


def log_density(x, mean, likelihood="bernoulli", noise_scale=0.1, **_):
    """log p of each pixel."""
    if likelihood == "bernoulli":
        return x * np.log(mean) + (1.0 - x) * np.log(1.0 - mean)
    return stats.norm.logpdf(x, mean, noise_scale)


def bound(x, x_tilde, kl, hidden, free_bits=0.0, **likelihood):
    """The negative bound and its parts; the KL as it is descended; -log p(x|z, c) of the hidden pixels."""
    pixels = -np.sum(hidden * log_density(x, x_tilde, **likelihood), axis=1)
    above = kl.mean(axis=0) > free_bits
    total = kl.sum(axis=1)
    logs = {"loss": total + pixels, "kl": total, "reconstruction": pixels}
    return logs, np.where(above, kl, free_bits).sum(axis=1) if free_bits else total, pixels


def features_of(weights, x, activation="tanh"):
    """Features of the trunk, `(B, F)`."""
    for kernel_and_bias in hidden_layers(weights, "trunk"):
        x = ACTIVATIONS[activation](affine(x, kernel_and_bias))
    return x


def class_logits(weights, x, activation="tanh"):
    """Logits of q(y|x), `(B, K)`."""
    h = features_of(weights, x)
    for kernel_and_bias in hidden_layers(weights, "class_head"):
        h = ACTIVATIONS[activation](affine(h, kernel_and_bias))
    return affine(h, layer(weights, "class_head_logits"))


def semi_supervised(
    weights, x, noise, labels, alpha=0.1, beta=1.0, pixel_weight=None, free_bits=0.0, **arguments
):
    """M2, one image and one class at a time, and its game; NaN where a log is not of that image.

    Args:
        noise: `(2, B, Z)`.
        pixel_weight: of the reconstruction in what is descended; 1 without a discriminator, else 0, if None.
    """
    adversarial = any(path.startswith("discriminator") for path in weights)
    if pixel_weight is None:
        pixel_weight = 0.0 if adversarial else 1.0
    shares = special.softmax(class_logits(weights, x), axis=1)
    count, num_classes = shares.shape
    labels, everything = np.asarray(labels), np.ones((1, x.shape[1]))
    codes = noise.shape[-1:]
    kl, pixels, x_tilde, x_prior = (
        np.empty((count, num_classes, *of)) for of in (codes, (), x.shape[1:], x.shape[1:])
    )
    for i, k in np.ndindex(count, num_classes):
        y = [one_hot([k], num_classes)]
        q = normal(weights, "encoder", joined(features_of(weights, x[i : i + 1]), *y), "tanh")
        p = prior(weights, y, q[0].shape)
        x_tilde[i, k] = decode(weights, q[0] + np.exp(q[1] / 2) * noise[0, i], y)[0]
        x_prior[i, k] = decode(weights, p[0] + np.exp(p[1] / 2) * noise[1, i], y)[0]
        kl[i, k] = normal_kl(*q, *p)[0]
        logs, _, _ = bound(x[i : i + 1], x_tilde[i, k], kl[i, k][None], everything, **arguments)
        pixels[i, k] = logs["reconstruction"][0]

    entropy, known = -np.sum(shares * np.log(shares), axis=1), labels >= 0
    truth = np.where(known[:, None], one_hot(labels, num_classes), shares)
    # Free bits are of the mean over images, each as the classes that it may be of.
    average = np.sum(truth[..., None] * kl, axis=(0, 1)) / count
    charged = np.where(average > free_bits, kl, free_bits).sum(axis=2) if free_bits else kl.sum(axis=2)
    kl = kl.sum(axis=2)
    each = kl + pixels + np.log(num_classes)
    of_known = np.where(known, 1.0, np.nan)
    unlabelled, own = np.sum(shares * each, axis=1) - entropy, np.sum(truth * each, axis=1)
    confidence = of_known * -np.log(np.sum(truth * shares, axis=1))
    result = {
        "loss": np.where(known, own, unlabelled),
        "kl": np.sum(truth * kl, axis=1),
        "reconstruction": np.sum(truth * pixels, axis=1),
        "unlabelled": unlabelled,
        "labelled": of_known * own,
        "error": of_known * (shares.argmax(axis=1) != labels),
        "classification": confidence,
    }
    descended = np.sum(truth * (beta * charged + pixel_weight * pixels), axis=1) + np.log(num_classes)
    descended -= np.where(known, 0.0, entropy)
    if known.any():
        descended += alpha * np.nan_to_num(confidence) * count / known.sum()
    if not adversarial:
        return result | {"generator": descended}
    played = semi_supervised_game(weights, x, x_tilde, x_prior, truth, labels, **arguments)
    verdict = discriminate(weights, x, spectral=arguments.get("spectral", False))[0][:, :-1].argmax(axis=1)
    if "encoder" in played:
        played["encoder"] = descended + played["encoder"]
        descended = pixel_weight * np.sum(truth * pixels, axis=1)
    played["generator"] = descended + played["generator"]
    return result | played | {"d_error": of_known * (verdict != labels)}


def semi_supervised_game(weights, x, x_tilde, x_prior, truth, labels, game="standard", **arguments):
    """What D and the generator make of each other, averaged over the shares `truth` `(B, K)` of the classes.

    Args:
        x_tilde, x_prior: `(B, K, H * W * C)`.
        game: `standard`, or `feature_matching`, where all labels must be known.
    """
    count, num_classes = truth.shape
    if game == "standard":
        rounds = [
            play(weights, x, x_tilde[:, k], x_prior[:, k], 0.0, 0.0, [k] * count, num_classes, **arguments)
            for k in range(num_classes)
        ]
        return {name: sum(truth[:, k] * rounds[k][name] for k in range(num_classes)) for name in rounds[0]}
    drawn = x_prior[np.arange(count), labels]
    real, real_features, _ = discriminate(weights, x)
    fake, fake_features, _ = discriminate(weights, drawn)
    real, fake = log_shares(real), log_shares(fake)
    distance = np.sum((real_features.mean(axis=0) - fake_features.mean(axis=0)) ** 2) / 2
    return {
        "generator": np.full(count, arguments["gamma"] * distance),
        "discriminator": -real[np.arange(count), labels] - fake[:, -1],
        "feature_matching": np.full(count, distance),
        "d_real": 1.0 - np.exp(real[:, -1]),
        "d_fake": 1.0 - np.exp(fake[:, -1]),
    }


def play(
    weights,
    x,
    x_tilde,
    x_prior,
    kl,
    pixels,
    labels=None,
    num_classes=None,
    beta=1.0,
    gamma=1.0,
    pixel_weight=0.0,
    three_players=False,
    label_smoothing=0.0,
    label_weight=1.0,
    r1=0.0,
    spectral=False,
    game="standard",
    weight=1.0,
    fakes_from="prior",
    **_,
):
    """The players' losses and what is reported of D; in another game than `standard` D has one logit."""
    real, real_features, gradient = discriminate(weights, x, spectral=spectral)
    recon, recon_features, _ = discriminate(weights, x_tilde, spectral=spectral)
    drawn, _, _ = discriminate(weights, x_prior, spectral=spectral)
    fakes = (recon,) if fakes_from == "none" else (recon, drawn)
    scores = real, *fakes
    real, fakes = log_shares(real), [log_shares(fake) for fake in fakes]
    # Beside the class of fakes there are those of the labels, or the one of real images.
    truth = np.ones((len(x), 1)) if num_classes is None else one_hot(labels, num_classes)

    features = np.sum((real_features - recon_features) ** 2, axis=1) / 2
    fooling = 0.0
    for shares in fakes:
        real_at_all = np.log1p(-np.exp(shares[:, -1]))  # log P(real), the rest is log P(y|real)
        of_class = np.sum(truth * shares[:, :-1], axis=1) - real_at_all
        fooling = fooling - real_at_all - label_weight * of_class
    judging = -(1.0 - label_smoothing) * np.sum(truth * real[:, :-1], axis=1)
    judging = judging - label_smoothing * real[:, -1] - sum(shares[:, -1] for shares in fakes)
    penalty = np.sum(gradient**2, axis=1) / 2
    d_real = 1.0 - np.exp(real[:, -1])
    d_fake = 1.0 - np.mean([np.exp(shares[:, -1]) for shares in fakes], axis=0)
    if game != "standard":
        judging, fooling, d_real, d_fake = OTHER_GAMES[game](*scores)
    fooling = weight * fooling
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
        "d_fake": d_fake,
    }


def balance(weights, x, noise, labels=None, pixel_weight=0.0, gamma=1.0, step=1e-5, **arguments):
    """Esser et al. 2021, eq. 7, at x~: |dL_rec/dx~| / (|dL_game/dx~| + 1e-6), by central differences."""
    parts, hidden = condition(np.float64(x), labels, **arguments)
    x = joined(np.float64(x))
    mean, log_variance = encode(weights, x, parts)
    x_tilde = decode(weights, mean + np.exp(log_variance / 2) * np.float64(noise)[0], parts)

    def reconstruction(x_tilde):
        return -pixel_weight * np.sum(hidden * log_density(x, x_tilde, **arguments))

    def fooling(x_tilde):
        told = arguments | {"fakes_from": "none", "gamma": 0.0, "weight": 1.0}
        return np.sum(play(weights, x, x_tilde, x_tilde, 0.0, 0.0, labels, **told)["generator"])

    lengths = []
    for loss in (reconstruction, fooling):
        slope = np.zeros_like(x_tilde)
        for index in np.ndindex(x_tilde.shape):
            moved = np.zeros_like(x_tilde)
            moved[index] = step
            slope[index] = (loss(x_tilde + moved) - loss(x_tilde - moved)) / (2 * step)
        lengths.append(np.linalg.norm(slope))
    return min(lengths[0] / (lengths[1] + 1e-6), 1e4)


def hinge(real, *fakes):
    """Lim and Ye 2017: D's loss, the generator's, and how D's scores lie between -1 and 1."""
    judging = np.maximum(0.0, 1.0 - real) + sum(np.maximum(0.0, 1.0 + fake) for fake in fakes)
    shares = [np.clip((1.0 + s) / 2.0, 0.0, 1.0) for s in (real, *fakes)]
    return judging, -sum(fakes), shares[0], np.mean(shares[1:], axis=0)


def least_squares(real, *fakes):
    """Mao et al. 2017, with the aims 0 and 1."""
    judging = (real - 1.0) ** 2 / 2.0 + sum(fake**2 / 2.0 for fake in fakes)
    shares = [np.clip(s, 0.0, 1.0) for s in (real, *fakes)]
    return judging, sum((fake - 1.0) ** 2 / 2.0 for fake in fakes), shares[0], np.mean(shares[1:], axis=0)


def relativistic(real, *fakes):
    """Jolicoeur-Martineau 2019, in pairs."""
    judging = sum(-np.log(sigmoid(real - fake)) for fake in fakes)
    fooling = sum(-np.log(sigmoid(fake - real)) for fake in fakes)
    d_fake = np.mean([sigmoid(fake - real) for fake in fakes], axis=0)
    return judging, fooling, sigmoid(real - fakes[0]), d_fake


OTHER_GAMES = {"hinge": hinge, "least_squares": least_squares, "relativistic": relativistic}


# ---- gradients ----


OF_GENERATOR = ("trunk", "encoder", "class_head", "prior", "decoder")


def owned(weights, player, three_players=False, **_):
    """The paths of the variables that a player owns."""
    networks = {
        "generator": ("decoder",) if three_players else OF_GENERATOR,
        "encoder": ("trunk", "encoder", "class_head", "prior"),
        "discriminator": ("discriminator",),
    }[player]
    return [path for path in weights if path.startswith(networks)]


def gradient(weights, player, x, noise, labels=None, example_weight=1.0, step=1e-5, **arguments):
    """The player's gradient with respect to its own variables, `{path: array}`, by central differences."""

    def objective():
        return np.mean(example_weight * losses(weights, x, noise, labels, **arguments)[player])

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
    return {name: float(np.nanmean(value)) for name, value in before.items()}
