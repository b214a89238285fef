"""The steps in plain JAX: pure functions on dicts of arrays, one jitted step that donates its state."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import rivals

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


# Networks: `weights` is a dict by Keras name.


def affine(weights, name, x):
    return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def affine_by_class(weights, name, x):
    """The layer on `x` and the one-hot label side by side: `(1 or K, B, F)` -> `(K, B, units)`."""
    kernel = weights[f"{name}/kernel"]
    of_class = kernel[-rivals.CLASSES :] + weights[f"{name}/bias"]
    product = x.reshape(-1, x.shape[-1]) @ kernel[: -rivals.CLASSES]
    return product.reshape(len(x), -1, kernel.shape[1]) + of_class[:, None]


def beside(x, labels):
    """`x` and the labels side by side, where there are labels."""
    return x if labels is None else jnp.concatenate([x, labels], axis=1)


def convolution(weights, name, x, stride=2):
    return convolve(x, weights[f"{name}/kernel"], stride) + weights[f"{name}/bias"]


def convolve(x, kernel, stride=2):
    return lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=DIMENSIONS)


def convolve_transposed(x, kernel):
    return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=DIMENSIONS, transpose_kernel=True)


# On the CPU, XLA takes 25 times as long on the gradient that automatic differentiation derives for the
# kernel of a transposed convolution as on the gradient for the kernel of the convolution that is being
# transposed. The two are equal when input and cotangent change places.
quick_convolve_transposed = jax.custom_vjp(convolve_transposed)


def transposed_forward(x, kernel):
    return convolve_transposed(x, kernel), (x, kernel)


def transposed_backward(kept, cotangent):
    x, kernel = kept
    x_cotangent, pull = jax.vjp(functools.partial(convolve, cotangent), kernel)
    return x_cotangent, *pull(x)


quick_convolve_transposed.defvjp(transposed_forward, transposed_backward)


def max_pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def quick_max_pool(x):
    """The same by slices: XLA is slow at the gradient of windows, too."""
    upper, lower = x[:, ::2], x[:, 1::2]
    upper, lower = (jnp.maximum(rows[:, :, ::2], rows[:, :, 1::2]) for rows in (upper, lower))
    return jnp.maximum(upper, lower)


class Networks:
    """The convolutional networks, with one or the other transposed convolution and pooling."""

    def __init__(self, quick):
        self.convolve_transposed = quick_convolve_transposed if quick else convolve_transposed
        self.max_pool = quick_max_pool if quick else max_pool

    def transposed_convolution(self, weights, name, x):
        return self.convolve_transposed(x, weights[f"{name}/kernel"]) + weights[f"{name}/bias"]

    def encode(self, weights, images, labels):
        x = jax.nn.leaky_relu(convolution(weights, "encoder_conv_0", images), rivals.SLOPE)
        x = jax.nn.leaky_relu(convolution(weights, "encoder_conv_1", x), rivals.SLOPE)
        x = beside(x.reshape(len(x), -1), labels)
        return affine(weights, "encoder_mean", x), affine(weights, "encoder_log_variance", x)

    def decode(self, weights, codes, labels):
        x = affine(weights, "decoder_project", beside(codes, labels))
        x = jax.nn.relu(x).reshape(-1, 7, 7, 64)
        x = jax.nn.relu(self.transposed_convolution(weights, "decoder_deconv_0", x))
        return self.transposed_convolution(weights, "decoder_logits", x)

    def judge(self, weights, images):
        x = jax.nn.leaky_relu(convolution(weights, "discriminator_conv_0", images), rivals.SLOPE)
        features = convolution(weights, "discriminator_conv_1", x)
        x = jax.nn.leaky_relu(features, rivals.SLOPE).reshape(len(x), -1)
        return affine(weights, "discriminator_logits", x), features

    def look(self, weights, images):
        """Features of M2's trunk, `(B, F)`. Pooling before the ReLU leaves it a quarter of the work."""
        x = jax.nn.relu(self.max_pool(convolution(weights, "trunk_conv_0", images, stride=1)))
        x = jax.nn.relu(self.max_pool(convolution(weights, "trunk_conv_1", x, stride=1)))
        return jax.nn.relu(affine(weights, "trunk_dense_0", x.reshape(len(x), -1)))


# Losses and updates.


def bound_gradients(forward, networks, weights, images, noise, prior_noise, labels):
    """Gradients of the one player and the logs."""
    del prior_noise

    def loss(weights):
        kl, logits = forward(networks, weights, images, noise, labels)
        reconstruction = cross_entropy(images, logits)
        return kl + reconstruction, (kl, reconstruction)

    (value, parts), gradients = jax.value_and_grad(loss, has_aux=True)(weights[0])
    return (gradients,), jnp.stack([value, *parts])


def reconstruct(networks, weights, images, noise, labels):
    """KL in nats, mean over the batch, and logits, of a VAE, given one-hot labels or None."""
    mean, log_variance = networks.encode(weights, images, labels)
    logits = networks.decode(weights, mean + jnp.exp(0.5 * log_variance) * noise, labels)
    return mean_kl(mean, log_variance), logits


def draw(networks, weights, images, noise, labels):
    """The same of a DRAW, whose logits are the last canvas."""
    del networks, labels
    count, x = len(images), images[..., 0]

    def repeated(name):
        return jnp.broadcast_to(weights[name][None], (count, *weights[name].shape))

    def step(state, noise):
        canvas, h, c, h_encoder, c_encoder = state
        rows, columns, intensity = filterbanks(affine(weights, "encoder_read/attention", h))
        both = jnp.stack([x, x - jax.nn.sigmoid(canvas)], axis=-1)
        glimpse = jnp.einsum("bnh,bhwc,bmw->bnmc", rows, both, columns)
        glimpse = (intensity[..., None, None] * glimpse).reshape(count, -1)
        joined = jnp.concatenate([glimpse, h], axis=1)
        h_encoder, c_encoder = lstm(weights, "encoder_lstm", joined, h_encoder, c_encoder)
        mean, log_variance = (
            affine(weights, f"encoder_{part}", h_encoder) for part in ("mean", "log_variance")
        )
        z = mean + jnp.exp(0.5 * log_variance) * noise
        h, c = lstm(weights, "decoder_lstm", z, h, c)
        rows, columns, intensity = filterbanks(affine(weights, "decoder_write/attention", h))
        patch = affine(weights, "decoder_write/patch", h)
        patch = patch.reshape(count, rivals.GLIMPSE, rivals.GLIMPSE) / intensity[..., None]
        canvas = canvas + jnp.einsum("bnh,bnm,bmw->bhw", rows, patch, columns)
        return (canvas, h, c, h_encoder, c_encoder), mean_kl(mean, log_variance)

    first = (
        repeated("first_drawing/canvas")[..., 0],
        *(repeated(f"first_drawing/{part}") for part in ("h", "c")),
        *(repeated(f"first_looking/{part}") for part in ("h_encoder", "c_encoder")),
    )
    (canvas, *_), kl = lax.scan(step, first, jnp.swapaxes(noise, 0, 1))
    return jnp.sum(kl), canvas[..., None]


def lstm(weights, name, x, h, c):
    """One step of an LSTM: its state `h` and `c`."""
    gates = x @ weights[f"{name}/kernel"] + h @ weights[f"{name}/recurrent_kernel"] + weights[f"{name}/bias"]
    i, f, candidate, o = jnp.split(gates, 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(candidate)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def filterbanks(parameters):
    """F_Y and F_X `(B, N, 28)`, and the intensity `(B, 1)`."""
    g_x, g_y, log_variance, log_stride, log_intensity = jnp.split(parameters, 5, axis=1)
    stride = 27 / (rivals.GLIMPSE - 1) * jnp.exp(log_stride)
    steps = jnp.arange(1, rivals.GLIMPSE + 1) - rivals.GLIMPSE / 2 - 0.5
    places = jnp.arange(1.0, 29.0)
    banks = []
    for g in (g_y, g_x):
        means = 14.5 * (g + 1) + steps * stride
        exponent = -0.5 * jnp.square(places - means[..., None]) * jnp.exp(-log_variance)[..., None]
        banks.append(jax.nn.softmax(exponent, axis=-1))
    return *banks, jnp.exp(log_intensity)


def semi_supervised_gradients(networks, weights, images, noise, prior_noise, labels):
    """Gradients of the one player of M2 and the logs.

    What is of each class is `(K, B, ...)`, or `(K B, ...)` between the layers: the gradient of a kernel is
    quicker to make from two axes.
    """
    del prior_noise
    count, known = len(images), labels >= 0
    one_hot = jax.nn.one_hot(labels, rivals.CLASSES).T  # zeros where the label is -1
    pixels = images.reshape(count, -1)

    def loss(weights):
        features = networks.look(weights, images)
        class_logits = affine(weights, "class_head_logits", features).T
        log_q = jax.nn.log_softmax(class_logits, axis=0)
        q = jnp.exp(log_q)
        hidden = jax.nn.relu(affine_by_class(weights, "encoder_dense_0", features[None]))
        hidden = hidden.reshape(-1, rivals.M2_ENCODER)
        mean, log_variance = (
            affine(weights, f"encoder_{part}", hidden).reshape(rivals.CLASSES, -1, rivals.M2_CODES)
            for part in ("mean", "log_variance")
        )
        x = mean + jnp.exp(0.5 * log_variance) * noise
        x = jax.nn.relu(affine_by_class(weights, "decoder_dense_0", x)).reshape(-1, rivals.M2_DECODER[0])
        x = jax.nn.relu(affine(weights, "decoder_dense_1", x))
        logits = affine(weights, "decoder_logits", x).reshape(rivals.CLASSES, -1, 784)
        kl = kl_of(mean, log_variance)
        reconstruction = jnp.sum(jax.nn.softplus(logits) - pixels * logits, axis=-1)
        bound = kl + reconstruction + np.log(rivals.CLASSES)
        labelled = jnp.sum(one_hot * bound, axis=0)
        unlabelled = jnp.sum(q * (bound + log_q), axis=0)
        nats = jnp.mean(jnp.where(known, labelled, unlabelled))
        classification = -jnp.sum(one_hot * log_q) / count
        shares = jnp.where(known, one_hot, q)
        logs = [
            nats,
            mean_of_sum(shares, kl),
            mean_of_sum(shares, reconstruction),
            jnp.mean(labelled),
            jnp.mean(unlabelled),
            jnp.mean(known & (jnp.argmax(class_logits, axis=0) != labels)),
            classification,
        ]
        share = jnp.maximum(jnp.mean(known), 1e-6)
        return nats + rivals.ALPHA * classification / share, jnp.stack(logs)

    gradients, logs = jax.grad(loss, has_aux=True)(weights[0])
    return (gradients,), logs


def vae_gan_gradients(networks, weights, images, noise, prior_noise, labels):
    """Gradients of both players and the logs, from one forward pass.

    The pass is made in two pieces, each linearised once: images from G, verdicts from D. Each
    player pulls the cotangents of its own loss back through them; what it does not use, D's
    kernels for G and D's images for D, is dead code to XLA.
    """
    if labels is not None:
        labels = jax.nn.one_hot(labels, rivals.CLASSES)

    def generate(weights_g):
        kl, logits = reconstruct(networks, weights_g, images, noise, labels)
        prior_logits = networks.decode(weights_g, prior_noise, labels)
        reconstruction = cross_entropy(images, logits)
        return (jax.nn.sigmoid(logits), jax.nn.sigmoid(prior_logits), kl), reconstruction

    def judge(weights_d, recon_images, prior_images):
        real, features = networks.judge(weights_d, images)
        recon, recon_features = networks.judge(weights_d, recon_images)
        prior, _ = networks.judge(weights_d, prior_images)
        return real, recon, prior, features, recon_features

    def fooling_and_matching(verdicts):
        _, recon, prior, features, recon_features = verdicts
        matching = 0.5 * sum_and_mean(jnp.square(lax.stop_gradient(features) - recon_features))
        fooling = -log_real(recon, labels) - log_real(prior, labels)
        return rivals.GAMMA * matching + jnp.mean(fooling), matching

    def telling_apart(verdicts):
        real, recon, prior, *_ = verdicts
        return jnp.mean(-log_real(real, labels) - log_fake(recon) - log_fake(prior))

    (*made, kl), pull_g, reconstruction = jax.vjp(generate, weights[0], has_aux=True)
    verdicts, pull_d = jax.vjp(judge, weights[1], *made)
    (loss, matching), verdict_cotangents = jax.value_and_grad(fooling_and_matching, has_aux=True)(verdicts)
    loss_g = loss + rivals.BETA * kl
    _, *image_cotangents = pull_d(verdict_cotangents)
    (gradients_g,) = pull_g((*image_cotangents, jnp.asarray(rivals.BETA)))
    loss_d, verdict_cotangents = jax.value_and_grad(telling_apart)(verdicts)
    gradients_d, *_ = pull_d(verdict_cotangents)
    real, recon, prior = (jnp.mean(1.0 - jnp.exp(log_fake(logits))) for logits in verdicts[:3])
    fake = 0.5 * (recon + prior)
    logs = [kl + reconstruction, kl, reconstruction, loss_g, loss_d, matching, real, fake]
    return (gradients_g, gradients_d), jnp.stack(logs)


def log_real(logits, labels):
    """log D, or the log-probability of the class where there are one-hot labels: `(B,)`."""
    if labels is None:
        return -jax.nn.softplus(-logits[:, 0])
    return jnp.sum(labels * jax.nn.log_softmax(logits)[:, :-1], axis=1)


def log_fake(logits):
    """log(1 - D), or the log-probability of the last class, that of fakes: `(B,)`."""
    if logits.shape[1] == 1:
        return -jax.nn.softplus(logits[:, 0])
    return jax.nn.log_softmax(logits)[:, -1]


def adam(rate, beta_1, weights, moments, gradients, count):
    """New weights and moments after update number `count`."""
    rate = rate * jnp.sqrt(1.0 - rivals.BETA_2**count) / (1.0 - beta_1**count)
    first, second = moments
    first = jax.tree.map(lambda m, g: beta_1 * m + (1.0 - beta_1) * g, first, gradients)
    second = jax.tree.map(
        lambda v, g: rivals.BETA_2 * v + (1.0 - rivals.BETA_2) * jnp.square(g), second, gradients
    )
    weights = jax.tree.map(
        lambda w, m, v: w - rate * m / (jnp.sqrt(v) + rivals.EPSILON), weights, first, second
    )
    return weights, (first, second)


def kl_of(mean, log_variance):
    """KL(q || N(0, I)) in nats, without the last axis."""
    return 0.5 * jnp.sum(jnp.square(mean) + jnp.exp(log_variance) - 1.0 - log_variance, axis=-1)


def mean_kl(mean, log_variance):
    """KL(q || N(0, I)) in nats, mean over the batch."""
    return jnp.mean(kl_of(mean, log_variance))


def cross_entropy(images, logits):
    """Bernoulli cross-entropy in nats, mean over the batch."""
    return sum_and_mean(jax.nn.softplus(logits) - images * logits)


def sum_and_mean(x):
    """Sum over all axes but the first, then mean over the first."""
    return jnp.sum(x) / len(x)


def mean_of_sum(shares, values):
    """Sum over the classes of values weighed by shares, both `(K, B)`, then mean over the batch."""
    return jnp.mean(jnp.sum(shares * values, axis=0))


class Trainer:
    """Training of one `kind`; see `make`."""

    def __init__(self, kind, batch_size, seed, quick):
        self.kind, self.batch_size = kind, batch_size
        self.rng = np.random.default_rng(seed)
        gradients = {
            "vae": functools.partial(bound_gradients, reconstruct),
            "draw": functools.partial(bound_gradients, draw),
            "vae_gan": vae_gan_gradients,
            "cvae_gan": vae_gan_gradients,
            "ssl_vae": semi_supervised_gradients,
        }[kind]
        self.gradients = functools.partial(gradients, Networks(quick))
        self.train_step = jax.jit(self._train_step, donate_argnums=0)
        self.injected_step = jax.jit(self._injected_step, donate_argnums=0)
        self.state = {"count": jnp.zeros((), "int32"), "key": jax.random.key(seed)}
        self.set_parameters(rivals.initial_parameters(kind, seed))
        zeros = functools.partial(jax.tree.map, jnp.zeros_like)
        weights = self.state["weights"]
        self.state["moments"] = [(zeros(player), zeros(player)) for player in weights]

    def _injected_step(self, state, images, noise, prior_noise, labels):
        gradients, logs = self.gradients(state["weights"], images, noise, prior_noise, labels)
        count = state["count"] + 1
        players = zip(state["weights"], state["moments"], gradients, strict=True)
        updated = [adam(*rivals.ADAM[self.kind], *player, count) for player in players]
        weights, moments = map(list, zip(*updated, strict=True))
        return {**state, "count": count, "weights": weights, "moments": moments}, logs

    def _train_step(self, state_and_totals, images, labels):
        state, totals = state_and_totals
        key, draw = jax.random.split(state["key"])
        shape = (rivals.num_draws(self.kind), len(images), *rivals.noise_shape(self.kind))
        noise = jax.random.normal(draw, shape)
        state, logs = self._injected_step({**state, "key": key}, images, noise[0], noise[-1], labels)
        return state, totals + len(images) * logs

    # Interface.

    def run_epoch(self, images, labels=None):
        """One pass over `images` in shuffled batches: dict of means."""
        order = self.rng.permutation(len(images))
        carry = self.state, jnp.zeros(len(rivals.LOGS[self.kind]))
        for start in range(0, len(images), self.batch_size):
            chosen = order[start : start + self.batch_size]
            carry = self.train_step(carry, images[chosen], None if labels is None else labels[chosen])
        self.state, totals = carry
        return rivals.as_logs(self.kind, np.asarray(totals) / len(images), labels)

    def step(self, images, noise, prior_noise=None, labels=None):
        """One update with these draws: dict of logs."""
        prior_noise = noise if prior_noise is None else prior_noise
        self.state, logs = self.injected_step(self.state, images, noise, prior_noise, labels)
        return rivals.as_logs(self.kind, np.asarray(logs), labels)

    def parameters(self):
        """The parameters: dict of NumPy arrays in Keras' layouts."""
        return {name: np.array(weight) for player in self.state["weights"] for name, weight in player.items()}

    def set_parameters(self, values):
        """Set the parameters, not Adam's moments, from a dict as of `parameters`."""
        self.state["weights"] = [
            {name: jnp.array(values[name]) for name in names} for names in rivals.names(self.kind) if names
        ]


def make(kind, batch_size=128, seed=0, quick=True):
    """Trainer of one kind of model.

    Args:
        kind: one of `rivals.ADAM`.
        batch_size: images per step of `run_epoch`; the last batch may be smaller and is compiled once more.
        seed: of the parameters, the draws and the order of the images.
        quick: write the gradient of the transposed convolution by hand, and pooling by slices, see above.
    """
    return Trainer(kind, batch_size, seed, quick)
