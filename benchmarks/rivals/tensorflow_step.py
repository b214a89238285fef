"""The steps in plain TensorFlow: variables, `tf.nn`, one persistent tape, one `tf.function`."""

import numpy as np
import tensorflow as tf

from benchmarks import rivals


class Trainer:
    """Training of one `kind`; see `make`."""

    def __init__(self, kind, batch_size, seed, xla):
        self.kind, self.batch_size, self.seed = kind, batch_size, seed
        self.names = rivals.names(kind)
        self.rate, self.beta_1 = rivals.ADAM[kind]
        initial = rivals.initial_parameters(kind, seed)
        self.weights = {name: tf.Variable(value) for name, value in initial.items()}
        self.moments = {
            name: (tf.Variable(tf.zeros_like(value)), tf.Variable(tf.zeros_like(value)))
            for name, value in initial.items()
        }
        self.beta_1_power, self.beta_2_power = tf.Variable(1.0), tf.Variable(1.0)
        self.totals = tf.Variable(tf.zeros(len(rivals.LOGS[kind])))
        self.generator = tf.random.Generator.from_seed(seed)
        self.forward = self.draw if kind == "draw" else self.reconstruct
        self.update = self.update_vae_gan if kind == "vae_gan" else self.update_bound
        images = tf.TensorSpec((None, 28, 28, 1), tf.float32)
        codes = tf.TensorSpec((None, *rivals.noise_shape(kind)), tf.float32)
        self.train_step = tf.function(self._train_step, input_signature=[images], jit_compile=xla)
        self.injected_step = tf.function(self.update, input_signature=[images, codes, codes], jit_compile=xla)
        self.dataset_of = self.dataset = None

    # Networks.

    def affine(self, name, x):
        return tf.matmul(x, self.weights[f"{name}/kernel"]) + self.weights[f"{name}/bias"]

    def convolution(self, name, x):
        x = tf.nn.conv2d(x, self.weights[f"{name}/kernel"], strides=2, padding="SAME")
        return tf.nn.bias_add(x, self.weights[f"{name}/bias"])

    def transposed_convolution(self, name, x):
        kernel = self.weights[f"{name}/kernel"]
        shape = (tf.shape(x)[0], 2 * x.shape[1], 2 * x.shape[2], kernel.shape[2])
        x = tf.nn.conv2d_transpose(x, kernel, shape, strides=2, padding="SAME")
        return tf.nn.bias_add(x, self.weights[f"{name}/bias"])

    def encode(self, images):
        x = tf.nn.leaky_relu(self.convolution("encoder_conv_0", images), rivals.SLOPE)
        x = tf.nn.leaky_relu(self.convolution("encoder_conv_1", x), rivals.SLOPE)
        x = tf.reshape(x, (-1, 3136))
        return self.affine("encoder_mean", x), self.affine("encoder_log_variance", x)

    def decode(self, codes):
        x = tf.nn.relu(self.affine("decoder_project", codes))
        x = tf.reshape(x, (-1, 7, 7, 64))
        x = tf.nn.relu(self.transposed_convolution("decoder_deconv_0", x))
        return self.transposed_convolution("decoder_logits", x)

    def judge(self, images):
        x = tf.nn.leaky_relu(self.convolution("discriminator_conv_0", images), rivals.SLOPE)
        features = self.convolution("discriminator_conv_1", x)
        x = tf.reshape(tf.nn.leaky_relu(features, rivals.SLOPE), (-1, 3136))
        return self.affine("discriminator_logits", x), features

    # Losses and updates.

    def update_bound(self, images, noise, prior_noise):
        del prior_noise
        variables = [self.weights[name] for name in self.names[0]]
        with tf.GradientTape() as tape:
            kl, logits = self.forward(images, noise)
            reconstruction = cross_entropy(images, logits)
            loss = kl + reconstruction
        self.apply_adam(self.names[0], tape.gradient(loss, variables))
        return tf.stack([loss, reconstruction, kl])

    def reconstruct(self, images, noise):
        """KL in nats, mean over the batch, and logits, of a VAE."""
        mean, log_variance = self.encode(images)
        logits = self.decode(mean + tf.exp(0.5 * log_variance) * noise)
        return mean_kl(mean, log_variance), logits

    def draw(self, images, noise):
        """The same of a DRAW, whose logits are the last canvas."""
        images, count, kl = images[..., 0], tf.shape(images)[0], 0.0

        def repeated(name):
            value = self.weights[name]
            return tf.broadcast_to(value[None], (count, *value.shape))

        canvas = repeated("first_drawing/canvas")[..., 0]
        state = [repeated(f"first_drawing/{part}") for part in ("h", "c")]
        seen = [repeated(f"first_looking/{part}") for part in ("h_encoder", "c_encoder")]
        for t in range(rivals.STEPS):
            rows, columns, intensity = filterbanks(self.affine("encoder_read/attention", state[0]))
            both = tf.stack([images, images - tf.sigmoid(canvas)], axis=1)
            glimpse = tf.matmul(rows[:, None] @ both, columns[:, None], transpose_b=True)
            glimpse = tf.transpose(intensity[..., None, None] * glimpse, (0, 2, 3, 1))
            joined = tf.concat([tf.reshape(glimpse, (-1, 2 * rivals.GLIMPSE**2)), state[0]], axis=1)
            seen = self.lstm("encoder_lstm", joined, *seen)
            mean = self.affine("encoder_mean", seen[0])
            log_variance = self.affine("encoder_log_variance", seen[0])
            kl += mean_kl(mean, log_variance)
            z = mean + tf.exp(0.5 * log_variance) * noise[:, t]
            state = self.lstm("decoder_lstm", z, *state)
            rows, columns, intensity = filterbanks(self.affine("decoder_write/attention", state[0]))
            patch = self.affine("decoder_write/patch", state[0])
            patch = tf.reshape(patch, (-1, rivals.GLIMPSE, rivals.GLIMPSE)) / intensity[..., None]
            canvas += tf.matmul(rows, patch, transpose_a=True) @ columns
        return kl, canvas[..., None]

    def lstm(self, name, x, h, c):
        """One step of an LSTM: its state `h` and `c`."""
        kernels = (self.weights[f"{name}/{part}"] for part in ("kernel", "recurrent_kernel"))
        gates = sum(tf.matmul(part, kernel) for part, kernel in zip((x, h), kernels, strict=True))
        i, f, candidate, o = tf.split(gates + self.weights[f"{name}/bias"], 4, axis=1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(candidate)
        return tf.sigmoid(o) * tf.tanh(c), c

    def update_vae_gan(self, images, noise, prior_noise):
        players = [[self.weights[name] for name in names] for names in self.names]
        with tf.GradientTape(persistent=True) as tape:
            kl, logits = self.forward(images, noise)
            real, features = self.judge(images)
            recon, recon_features = self.judge(tf.sigmoid(logits))
            prior, _ = self.judge(tf.sigmoid(self.decode(prior_noise)))
            matching = 0.5 * sum_and_mean(tf.math.squared_difference(features, recon_features))
            fooling = tf.reduce_mean(tf.nn.softplus(-recon) + tf.nn.softplus(-prior))
            loss_g = rivals.BETA * kl + rivals.GAMMA * matching + fooling
            loss_d = tf.reduce_mean(tf.nn.softplus(-real) + tf.nn.softplus(recon) + tf.nn.softplus(prior))
        # In a graph, the gradients that nobody reads are pruned: G's pass makes none for D's kernels.
        gradients_g = tape.gradient(loss_g, players[0])
        gradients_d = tape.gradient(loss_d, players[1])
        self.apply_adam(self.names[0] + self.names[1], gradients_g + gradients_d)
        fake = 0.5 * tf.reduce_mean(tf.sigmoid(recon) + tf.sigmoid(prior))
        reconstruction = cross_entropy(images, logits)
        return tf.stack([reconstruction, kl, loss_g, loss_d, tf.reduce_mean(tf.sigmoid(real)), fake])

    def apply_adam(self, names, gradients):
        """One update of all of `names` by the fused kernel that TensorFlow has for it."""
        beta_1_power = self.beta_1_power.assign(self.beta_1_power * self.beta_1)
        beta_2_power = self.beta_2_power.assign(self.beta_2_power * rivals.BETA_2)
        for name, gradient in zip(names, gradients, strict=True):
            first, second = self.moments[name]
            tf.raw_ops.ResourceApplyAdam(
                var=self.weights[name].handle,
                m=first.handle,
                v=second.handle,
                beta1_power=beta_1_power,
                beta2_power=beta_2_power,
                lr=self.rate,
                beta1=self.beta_1,
                beta2=rivals.BETA_2,
                epsilon=rivals.EPSILON,
                grad=gradient,
            )

    def _train_step(self, images):
        size = tf.shape(images)[0]
        noise = self.generator.normal((2, size, *rivals.noise_shape(self.kind)))
        self.totals.assign_add(tf.cast(size, tf.float32) * self.update(images, noise[0], noise[1]))

    # Interface.

    def run_epoch(self, images):
        """One pass over `images` in shuffled batches: dict of means."""
        if self.dataset_of is not images:
            self.dataset_of, self.dataset = images, self.batches(images)
        self.totals.assign(tf.zeros_like(self.totals))
        for batch in self.dataset:
            self.train_step(batch)
        return self.as_logs(self.totals.numpy() / len(images))

    def batches(self, images):
        """`images` in shuffled batches."""
        data = tf.data.Dataset.from_tensor_slices(images)
        data = data.shuffle(len(images), seed=self.seed)
        return data.batch(self.batch_size).prefetch(tf.data.AUTOTUNE)

    def step(self, images, noise, prior_noise=None):
        """One update with these draws: dict of logs."""
        prior_noise = noise if prior_noise is None else prior_noise
        return self.as_logs(self.injected_step(images, noise, prior_noise).numpy())

    def as_logs(self, values):
        return dict(zip(rivals.LOGS[self.kind], map(float, values), strict=True))

    def parameters(self):
        """The parameters: dict of NumPy arrays in Keras' layouts."""
        return {name: np.array(weight) for name, weight in self.weights.items()}

    def set_parameters(self, values):
        """Set the parameters, not Adam's moments, from a dict as of `parameters`."""
        for name, weight in self.weights.items():
            weight.assign(values[name])


def filterbanks(parameters):
    """F_Y and F_X `(B, N, 28)`, and the intensity `(B, 1)`."""
    g_x, g_y, log_variance, log_stride, log_intensity = tf.split(parameters, 5, axis=1)
    stride = 27 / (rivals.GLIMPSE - 1) * tf.exp(log_stride)
    steps = tf.range(1.0, rivals.GLIMPSE + 1.0) - rivals.GLIMPSE / 2 - 0.5
    places = tf.range(1.0, 29.0)
    banks = []
    for g in (g_y, g_x):
        means = 14.5 * (g + 1.0) + steps * stride
        exponent = -0.5 * tf.square(places - means[..., None]) * tf.exp(-log_variance)[..., None]
        banks.append(tf.nn.softmax(exponent, axis=-1))
    return *banks, tf.exp(log_intensity)


def mean_kl(mean, log_variance):
    """KL(q || N(0, I)) in nats, mean over the batch."""
    return 0.5 * sum_and_mean(tf.square(mean) + tf.exp(log_variance) - 1.0 - log_variance)


def cross_entropy(images, logits):
    """Bernoulli cross-entropy in nats, mean over the batch."""
    return sum_and_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=images, logits=logits))


def sum_and_mean(x):
    """Sum over all axes but the first, then mean over the first."""
    return tf.reduce_sum(x) / tf.cast(tf.shape(x)[0], tf.float32)


def make(kind, batch_size=128, seed=0, xla=False):
    """Trainer of a `vae`, a `vae_gan` or a `draw`.

    Args:
        kind: `vae`, `vae_gan` or `draw`.
        batch_size: images per step of `run_epoch`; the last batch may be smaller.
        seed: of the parameters, the draws and the order of the images.
        xla: compile the step with XLA.
    """
    return Trainer(kind, batch_size, seed, xla)
