"""Do the three steps agree, with each other and with the formulas? `python -m benchmarks.rivals.check`.

The same parameters, images and draws go to every step. The reference is the library's networks,
with losses written in NumPy. Prints the largest differences; exits with 1 if one is too large.
"""

import sys

import numpy as np

from benchmarks import rivals
from benchmarks.rivals import jax_step, tensorflow_step, torch_step

VARIANTS = {
    "tensorflow": lambda kind: tensorflow_step.make(kind, xla=False),
    "tensorflow xla": lambda kind: tensorflow_step.make(kind, xla=True),
    "jax": lambda kind: jax_step.make(kind),
    "jax not quick": lambda kind: jax_step.make(kind, quick=False),
    "torch": lambda kind: torch_step.make(kind),
    "torch foreach": lambda kind: torch_step.make(kind, fused=False),
}
SIZE = 24
LOSS_TOLERANCE = 1e-4
#: In units of Adam's step size, by which nearly every parameter moves in a first step. Where a gradient
#: is as small as epsilon, rounding shows, so a few parameters may differ more.
STEP_TOLERANCE, SHARE_TOLERANCE = 1e-2, 1e-3


def inputs(kind):
    """Parameters, images, both draws and labels. Biases are not zero, so that a misplaced one shows."""
    rng = np.random.default_rng(1)
    values = rivals.initial_parameters(kind, seed=1)
    for name in values:
        if name.endswith("bias"):
            values[name] = rng.normal(0.0, 0.1, values[name].shape).astype("float32")
    images = rng.uniform(size=(SIZE, 28, 28, 1)).astype("float32")
    draws = rng.normal(size=(2, SIZE, *rivals.noise_shape(kind))).astype("float32")
    return values, images, *draws, rivals.some_labels(kind, SIZE)


def reference_logs(kind, values, images, noise, prior_noise, labels):
    """The logs of a step, from the library's networks and NumPy; the path of DRAW from its model."""
    from keras_vaegan.networks import dcgan

    if kind == "ssl_vae":
        return semi_supervised_logs(values, images, noise, labels)
    shape, classes = images.shape[1:], {} if labels is None else {"num_classes": rivals.CLASSES}

    def with_labels(name, value):
        return value if labels is None else {name: value, "labels": np.eye(rivals.CLASSES)[labels]}

    if kind == "draw":
        code = drawn(values, images, noise)
        logits = code["logits"]
    else:
        encode = network(values, dcgan.encoder, shape, rivals.LATENT_DIM, **rivals.NETWORK, **classes)
        code = encode(with_labels("images", images))
        decode = network(values, dcgan.decoder, shape, rivals.LATENT_DIM, **rivals.NETWORK, **classes)
        logits = decode(with_labels("codes", drawn_code(code, noise)))
    kl, reconstruction = kl_of(code).sum() / len(images), cross_entropy(images, logits).mean()
    bound = {"loss": kl + reconstruction, "kl": kl, "reconstruction": reconstruction}
    if kind in ("vae", "draw"):
        return bound
    num_outputs = 1 if labels is None else rivals.CLASSES + 1
    judge = network(values, dcgan.discriminator, shape, **rivals.JUDGE, num_outputs=num_outputs)
    fakes = [sigmoid(logits), sigmoid(decode(with_labels("codes", prior_noise)))]
    real, recon, prior = (judge(x) for x in (images, *fakes))
    matching = 0.5 * ((real["features"] - recon["features"]) ** 2).sum((1, 2, 3)).mean()
    (real, not_real), (recon, not_recon), (prior, not_prior) = (
        log_verdict(verdict["logits"], labels) for verdict in (real, recon, prior)
    )
    return bound | {
        "generator": rivals.BETA * kl + rivals.GAMMA * matching - (recon + prior).mean(),
        "discriminator": -(real + not_recon + not_prior).mean(),
        "feature_matching": matching,
        "d_real": (1.0 - np.exp(not_real)).mean(),
        "d_fake": (1.0 - 0.5 * (np.exp(not_recon) + np.exp(not_prior))).mean(),
    }


def semi_supervised_logs(values, images, noise, labels):
    """The logs of a step of M2, one class at a time, with one-hot labels."""
    from keras_vaegan.networks import heads, lenet, mlp

    shape, classes = images.shape[1:], rivals.CLASSES
    encode = network(
        values, heads.encoder_head, rivals.M2_FEATURES, rivals.M2_CODES, classes, rivals.M2_ENCODER
    )
    decode = network(values, mlp.decoder, shape, rivals.M2_CODES, rivals.M2_DECODER, num_classes=classes)
    features = network(values, lenet.trunk, shape, rivals.M2_FILTERS)(images)
    log_q = log_softmax(network(values, heads.class_head, rivals.M2_FEATURES, classes)(features))
    kl, reconstruction = np.empty((2, len(images), classes))
    for k in range(classes):
        label = np.tile(np.eye(classes)[k], (len(images), 1))
        code = encode({"features": features, "labels": label})
        logits = decode({"codes": drawn_code(code, noise), "labels": label})
        kl[:, k], reconstruction[:, k] = kl_of(code), cross_entropy(images, logits)
    bound = kl + reconstruction + np.log(classes)
    unlabelled = (np.exp(log_q) * (bound + log_q)).sum(1)
    known = np.flatnonzero(labels >= 0)
    of_known = known, labels[known]
    loss, shares = unlabelled.copy(), np.exp(log_q)
    loss[known], shares[known] = bound[of_known], np.eye(classes)[labels[known]]
    return {
        "loss": loss.mean(),
        "kl": (shares * kl).sum(1).mean(),
        "reconstruction": (shares * reconstruction).sum(1).mean(),
        "labelled": bound[of_known].mean(),
        "unlabelled": unlabelled.mean(),
        "error": (log_q[known].argmax(1) != labels[known]).mean(),
        "classification": -log_q[of_known].mean(),
    }


def network(values, build, *arguments, **settings):
    """A function of float64 arrays: the library's network with these parameters."""
    from keras import tree

    model = build(*arguments, **settings)
    for weight in model.weights:
        weight.assign(values[weight.path])
    return lambda x: to_double(model(tree.map_structure(lambda part: np.asarray(part, "float32"), x)))


def drawn(values, images, noise):
    """What the library's DRAW infers with this noise, and its last canvas."""
    import keras_vaegan
    from keras_vaegan.networks import draw

    settings = {"units": rivals.UNITS, "glimpse": rivals.GLIMPSE}
    networks = [build(images.shape[1:], rivals.CODES, **settings) for build in (draw.encoder, draw.decoder)]
    model = keras_vaegan.DRAW(*networks, steps=rivals.STEPS)
    for weight in model.trainable_variables:
        weight.assign(values[weight.path])
    return to_double(model.inference({"images": images, "noise": noise}))


def to_double(outputs):
    """Keras tensors to float64 arrays."""
    from keras import ops, tree

    return tree.map_structure(lambda x: ops.convert_to_numpy(x).astype("float64"), outputs)


def drawn_code(code, noise):
    """Where the noise comes to lie."""
    return code["mean"] + np.exp(0.5 * code["log_variance"]) * noise


def kl_of(code):
    """KL(q || N(0, I)) in nats: `(B,)`, or `(B, T)` of a DRAW."""
    return 0.5 * (code["mean"] ** 2 + np.exp(code["log_variance"]) - 1.0 - code["log_variance"]).sum(-1)


def cross_entropy(images, logits):
    """Bernoulli cross-entropy in nats: `(B,)`."""
    return (softplus(logits) - images * logits).sum((1, 2, 3))


def log_verdict(logits, labels):
    """log D and log(1 - D), or the log-probabilities of the class and of fakes where there are labels."""
    if labels is None:
        return -softplus(-logits[:, 0]), -softplus(logits[:, 0])
    shares = log_softmax(logits)
    return shares[np.arange(len(labels)), labels], shares[:, -1]


def log_softmax(x):
    return x - np.logaddexp.reduce(x, axis=1, keepdims=True)


def softplus(x):
    return np.logaddexp(0.0, x)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def relative(value, reference):
    """Largest relative difference of two dicts of floats, and the log where it is."""
    assert value.keys() == reference.keys()
    return max((abs(value[name] - reference[name]) / abs(reference[name]), name) for name in reference)


def in_steps(values, reference, rate):
    """Differences of two dicts of parameters in step sizes: the largest, its name, the share too large."""
    differences = {name: np.abs(values[name] - reference[name]) / rate for name in reference}
    largest, name = max((difference.max(), name) for name, difference in differences.items())
    flat = np.concatenate([difference.ravel() for difference in differences.values()])
    return largest, name, (flat > STEP_TOLERANCE).mean()


def main():
    """Print the differences of every kind; 0 if all are small."""
    good = True
    for kind in rivals.ADAM:
        values, *data = inputs(kind)
        expected = reference_logs(kind, values, *data)
        print(kind, {name: round(float(value), 4) for name, value in expected.items()})
        rate, reference = rivals.ADAM[kind][0], None
        for variant, make in VARIANTS.items():
            trainer = make(kind)
            trainer.set_parameters(values)
            if variant.startswith("torch"):
                for optimizer in trainer.optimizers:
                    # PyTorch adds epsilon after the correction of the second moment, the others before.
                    optimizer.param_groups[0]["eps"] = rivals.EPSILON / (1.0 - rivals.BETA_2) ** 0.5
            unchanged = all(np.array_equal(trainer.parameters()[name], values[name]) for name in values)
            difference, log = relative(trainer.step(*data), expected)
            moved = trainer.parameters()
            reference = reference or moved
            largest, name, share = in_steps(moved, reference, rate)
            least = min(np.abs(moved[name] - values[name]).mean() / rate for name in values)
            good &= unchanged and least > 0.1
            good &= bool(difference < LOSS_TOLERANCE and share < SHARE_TOLERANCE)
            print(
                f"  {variant:15s} logs {difference:.1e} ({log}); parameters in steps, against tensorflow: "
                f"largest {largest:.1e} ({name}), share above {STEP_TOLERANCE} {share:.1e}; "
                f"least mean move {least:.2f}"
            )
    print("all agree" if good else "THEY DIFFER")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
