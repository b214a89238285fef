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
        self.update = {
            "vae": self.update_bound,
            "draw": self.update_bound,
            "vae_gan": self.update_vae_gan,
            "cvae_gan": self.update_vae_gan,
            "ssl_vae": self.update_semi_supervised,
        }[kind]
        self.max_pool = max_pool_by_slices if xla else max_pool
        images = tf.TensorSpec((None, 28, 28, 1), tf.float32)
        codes = tf.TensorSpec((None, *rivals.noise_shape(kind)), tf.float32)
        labels = [tf.TensorSpec((None,), tf.int32)] if kind in rivals.LABELLED_KINDS else []
        self.train_step = tf.function(self._train_step, input_signature=[images, *labels], jit_compile=xla)
        self.injected_step = tf.function(
            self.update, input_signature=[images, codes, codes, *labels], jit_compile=xla
        )
        self.dataset_of = self.dataset = None

    # Networks.

    def affine(self, name, x):
        return tf.matmul(x, self.weights[f"{name}/kernel"]) + self.weights[f"{name}/bias"]

    def affine_by_class(self, name, x):
        """The layer on `x` and the one-hot label side by side: `(1 or K, B, F)` -> `(K, B, units)`."""
        kernel = self.weights[f"{name}/kernel"]
        of_class = kernel[-rivals.CLASSES :] + self.weights[f"{name}/bias"]
        product = tf.matmul(tf.reshape(x, (-1, x.shape[-1])), kernel[: -rivals.CLASSES])
        return tf.reshape(product, (x.shape[0], -1, kernel.shape[1])) + of_class[:, None]

    def convolution(self, name, x, stride=2):
        x = tf.nn.conv2d(x, self.weights[f"{name}/kernel"], strides=stride, padding="SAME")
        return tf.nn.bias_add(x, self.weights[f"{name}/bias"])

    def transposed_convolution(self, name, x):
        kernel = self.weights[f"{name}/kernel"]
        shape = (tf.shape(x)[0], 2 * x.shape[1], 2 * x.shape[2], kernel.shape[2])
        x = tf.nn.conv2d_transpose(x, kernel, shape, strides=2, padding="SAME")
        return tf.nn.bias_add(x, self.weights[f"{name}/bias"])

    def encode(self, images, labels):
        x = tf.nn.leaky_relu(self.convolution("encoder_conv_0", images), rivals.SLOPE)
        x = tf.nn.leaky_relu(self.convolution("encoder_conv_1", x), rivals.SLOPE)
        x = beside(tf.reshape(x, (-1, 3136)), labels)
        return self.affine("encoder_mean", x), self.affine("encoder_log_variance", x)

    def decode(self, codes, labels):
        x = tf.nn.relu(self.affine("decoder_project", beside(codes, labels)))
        x = tf.reshape(x, (-1, 7, 7, 64))
        x = tf.nn.relu(self.transposed_convolution("decoder_deconv_0", x))
        return self.transposed_convolution("decoder_logits", x)

    def judge(self, images):
        x = tf.nn.leaky_relu(self.convolution("discriminator_conv_0", images), rivals.SLOPE)
        features = self.convolution("discriminator_conv_1", x)
        x = tf.reshape(tf.nn.leaky_relu(features, rivals.SLOPE), (-1, 3136))
        return self.affine("discriminator_logits", x), features

    def look(self, images):
        """Features of M2's trunk, `(B, F)`. Pooling before the ReLU leaves it a quarter of the work."""
        x = tf.nn.relu(self.max_pool(self.convolution("trunk_conv_0", images, stride=1)))
        x = tf.nn.relu(self.max_pool(self.convolution("trunk_conv_1", x, stride=1)))
        return tf.nn.relu(self.affine("trunk_dense_0", tf.reshape(x, (-1, 49 * rivals.M2_FILTERS[1]))))

    # Losses and updates.

    def update_bound(self, images, noise, prior_noise, labels=None):
        del prior_noise
        variables = [self.weights[name] for name in self.names[0]]
        with tf.GradientTape() as tape:
            kl, logits = self.forward(images, noise, labels)
            reconstruction = cross_entropy(images, logits)
            loss = kl + reconstruction
        self.apply_adam(self.names[0], tape.gradient(loss, variables))
        return tf.stack([loss, kl, reconstruction])

    def reconstruct(self, images, noise, labels):
        """KL in nats, mean over the batch, and logits, of a VAE, given one-hot labels or None."""
        mean, log_variance = self.encode(images, labels)
        logits = self.decode(mean + tf.exp(0.5 * log_variance) * noise, labels)
        return mean_kl(mean, log_variance), logits

    def draw(self, images, noise, labels):
        """The same of a DRAW, whose logits are the last canvas."""
        del labels
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

    def update_semi_supervised(self, images, noise, prior_noise, labels):
        """One step of M2. What is of each class is `(K, B, ...)`, or `(K B, ...)` between the layers."""
        del prior_noise
        variables = [self.weights[name] for name in self.names[0]]
        known = labels >= 0
        one_hot = tf.one_hot(labels, rivals.CLASSES, axis=0)  # zeros where the label is -1
        pixels = tf.reshape(images, (-1, 784))
        with tf.GradientTape() as tape:
            features = self.look(images)
            log_q = tf.transpose(tf.nn.log_softmax(self.affine("class_head_logits", features)))
            q = tf.exp(log_q)
            hidden = tf.nn.relu(self.affine_by_class("encoder_dense_0", features[None]))
            hidden = tf.reshape(hidden, (-1, rivals.M2_ENCODER))
            mean, log_variance = (
                tf.reshape(self.affine(f"encoder_{part}", hidden), (rivals.CLASSES, -1, rivals.M2_CODES))
                for part in ("mean", "log_variance")
            )
            x = mean + tf.exp(0.5 * log_variance) * noise
            x = tf.nn.relu(self.affine_by_class("decoder_dense_0", x))
            x = tf.reshape(x, (-1, rivals.M2_DECODER[0]))
            x = tf.nn.relu(self.affine("decoder_dense_1", x))
            logits = tf.reshape(self.affine("decoder_logits", x), (rivals.CLASSES, -1, 784))
            kl = kl_of(mean, log_variance)
            reconstruction = tf.reduce_sum(tf.nn.softplus(logits) - pixels * logits, axis=-1)
            bound = kl + reconstruction + np.log(rivals.CLASSES).astype("float32")
            labelled = tf.reduce_sum(one_hot * bound, axis=0)
            unlabelled = tf.reduce_sum(q * (bound + log_q), axis=0)
            nats = tf.reduce_mean(tf.where(known, labelled, unlabelled))
            classification = -mean_of_sum(one_hot, log_q)
            share = tf.maximum(tf.reduce_mean(tf.cast(known, tf.float32)), 1e-6)
            loss = nats + rivals.ALPHA * classification / share
        self.apply_adam(self.names[0], tape.gradient(loss, variables))
        shares = tf.where(known, one_hot, q)
        wrong = known & (tf.argmax(log_q, axis=0, output_type=tf.int32) != labels)
        logs = [
            nats,
            mean_of_sum(shares, kl),
            mean_of_sum(shares, reconstruction),
            tf.reduce_mean(labelled),
            tf.reduce_mean(unlabelled),
            tf.reduce_mean(tf.cast(wrong, tf.float32)),
            classification,
        ]
        return tf.stack(logs)

    def update_vae_gan(self, images, noise, prior_noise, labels=None):
        players = [[self.weights[name] for name in names] for names in self.names]
        if labels is not None:
            labels = tf.one_hot(labels, rivals.CLASSES)
        with tf.GradientTape(persistent=True) as tape:
            kl, logits = self.forward(images, noise, labels)
            real, features = self.judge(images)
            recon, recon_features = self.judge(tf.sigmoid(logits))
            prior, _ = self.judge(tf.sigmoid(self.decode(prior_noise, labels)))
            matching = 0.5 * sum_and_mean(tf.math.squared_difference(features, recon_features))
            fooling = -log_real(recon, labels) - log_real(prior, labels)
            loss_g = rivals.BETA * kl + rivals.GAMMA * matching + tf.reduce_mean(fooling)
            loss_d = tf.reduce_mean(-log_real(real, labels) - log_fake(recon) - log_fake(prior))
        # In a graph, the gradients that nobody reads are pruned: G's pass makes none for D's kernels.
        gradients_g = tape.gradient(loss_g, players[0])
        gradients_d = tape.gradient(loss_d, players[1])
        self.apply_adam(self.names[0] + self.names[1], gradients_g + gradients_d)
        reconstruction = cross_entropy(images, logits)
        real, recon, prior = (tf.reduce_mean(1.0 - tf.exp(log_fake(x))) for x in (real, recon, prior))
        fake = 0.5 * (recon + prior)
        return tf.stack([kl + reconstruction, kl, reconstruction, loss_g, loss_d, matching, real, fake])

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

    def _train_step(self, images, *labels):
        size = tf.shape(images)[0]
        noise = self.generator.normal((rivals.num_draws(self.kind), size, *rivals.noise_shape(self.kind)))
        logs = self.update(images, noise[0], noise[-1], *labels)
        self.totals.assign_add(tf.cast(size, tf.float32) * logs)

    # Interface.

    def run_epoch(self, images, labels=None):
        """One pass over `images` in shuffled batches: dict of means."""
        if self.dataset_of is not images:
            self.dataset_of, self.dataset = images, self.batches(images, labels)
        self.totals.assign(tf.zeros_like(self.totals))
        for batch in self.dataset:
            self.train_step(*batch)
        return rivals.as_logs(self.kind, self.totals.numpy() / len(images), labels)

    def batches(self, images, labels):
        """`images`, and their labels if there are some, in shuffled batches."""
        data = tf.data.Dataset.from_tensor_slices((images,) if labels is None else (images, labels))
        data = data.shuffle(len(images), seed=self.seed)
        return data.batch(self.batch_size).prefetch(tf.data.AUTOTUNE)

    def step(self, images, noise, prior_noise=None, labels=None):
        """One update with these draws: dict of logs."""
        prior_noise = noise if prior_noise is None else prior_noise
        logs = self.injected_step(images, noise, prior_noise, *([] if labels is None else [labels]))
        return rivals.as_logs(self.kind, logs.numpy(), labels)

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


def max_pool(x):
    return tf.nn.max_pool2d(x, 2, 2, "VALID")


def max_pool_by_slices(x):
    """The same. On the CPU, XLA is slow at the gradient of windows."""
    upper, lower = x[:, ::2], x[:, 1::2]
    upper, lower = (tf.maximum(rows[:, :, ::2], rows[:, :, 1::2]) for rows in (upper, lower))
    return tf.maximum(upper, lower)


def beside(x, labels):
    """`x` and the labels side by side, where there are labels."""
    return x if labels is None else tf.concat([x, labels], axis=1)


def log_real(logits, labels):
    """log D, or the log-probability of the class where there are one-hot labels: `(B,)`."""
    if labels is None:
        return -tf.nn.softplus(-logits[:, 0])
    return tf.reduce_sum(labels * tf.nn.log_softmax(logits)[:, :-1], axis=1)


def log_fake(logits):
    """log(1 - D), or the log-probability of the last class, that of fakes: `(B,)`."""
    if logits.shape[1] == 1:
        return -tf.nn.softplus(logits[:, 0])
    return tf.nn.log_softmax(logits)[:, -1]


def kl_of(mean, log_variance):
    """KL(q || N(0, I)) in nats, without the last axis."""
    return 0.5 * tf.reduce_sum(tf.square(mean) + tf.exp(log_variance) - 1.0 - log_variance, axis=-1)


def mean_kl(mean, log_variance):
    """KL(q || N(0, I)) in nats, mean over the batch."""
    return tf.reduce_mean(kl_of(mean, log_variance))


def cross_entropy(images, logits):
    """Bernoulli cross-entropy in nats, mean over the batch."""
    return sum_and_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=images, logits=logits))


def sum_and_mean(x):
    """Sum over all axes but the first, then mean over the first."""
    return tf.reduce_sum(x) / tf.cast(tf.shape(x)[0], tf.float32)


def mean_of_sum(shares, values):
    """Sum over the classes of values weighed by shares, both `(K, B)`, then mean over the batch."""
    return tf.reduce_mean(tf.reduce_sum(shares * values, axis=0))


def make(kind, batch_size=128, seed=0, xla=False):
    """Trainer of one kind of model.

    Args:
        kind: one of `rivals.ADAM`.
        batch_size: images per step of `run_epoch`; the last batch may be smaller.
        seed: of the parameters, the draws and the order of the images.
        xla: compile the step with XLA.
    """
    return Trainer(kind, batch_size, seed, xla)
