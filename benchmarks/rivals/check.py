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
    """Parameters, images and both draws. Biases are not zero, so that a misplaced one shows."""
    rng = np.random.default_rng(1)
    values = rivals.initial_parameters(kind, seed=1)
    for name in values:
        if name.endswith("bias"):
            values[name] = rng.normal(0.0, 0.1, values[name].shape).astype("float32")
    images = rng.uniform(size=(SIZE, 28, 28, 1)).astype("float32")
    return values, images, *rng.normal(size=(2, SIZE, *rivals.noise_shape(kind))).astype("float32")


def reference_logs(kind, values, images, noise, prior_noise):
    """The logs of a step, from the library's networks and NumPy; the path of DRAW from its model."""
    from keras_vaegan.networks import dcgan

    def network(build, *arguments):
        model = build(images.shape[1:], *arguments)
        for weight in model.weights:
            weight.assign(values[weight.path])
        return lambda x: to_double(model(np.asarray(x, "float32")))

    if kind == "draw":
        code = drawn(values, images, noise)
        logits = code["logits"]
    else:
        code = network(dcgan.encoder, rivals.LATENT_DIM)(images)
        decode = network(dcgan.decoder, rivals.LATENT_DIM)
        logits = decode(code["mean"] + np.exp(0.5 * code["log_variance"]) * noise)
    kl_terms = code["mean"] ** 2 + np.exp(code["log_variance"]) - 1.0 - code["log_variance"]
    kl = 0.5 * kl_terms.sum() / len(images)
    reconstruction = (softplus(logits) - images * logits).sum((1, 2, 3)).mean()
    if kind != "vae_gan":
        return {"loss": kl + reconstruction, "reconstruction": reconstruction, "kl": kl}
    judge = network(dcgan.discriminator)
    real, recon, prior = judge(images), judge(sigmoid(logits)), judge(sigmoid(decode(prior_noise)))
    matching = 0.5 * ((real["features"] - recon["features"]) ** 2).sum((1, 2, 3)).mean()
    real, recon, prior = (verdict["logits"] for verdict in (real, recon, prior))
    return {
        "reconstruction": reconstruction,
        "kl": kl,
        "loss_g": rivals.BETA * kl + rivals.GAMMA * matching + (softplus(-recon) + softplus(-prior)).mean(),
        "loss_d": (softplus(-real) + softplus(recon) + softplus(prior)).mean(),
        "d_real": sigmoid(real).mean(),
        "d_fake": 0.5 * (sigmoid(recon) + sigmoid(prior)).mean(),
    }


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
    """Print the differences of both kinds; 0 if all are small."""
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
