"""Training steps of five models written by hand: what a framework's own user would write.

`tensorflow_step`, `jax_step` and `torch_step` hold the same mathematics in plain TensorFlow, JAX and
PyTorch, without Keras and without `keras_vaegan`; `check` shows that they agree. This module holds
what they share: the mathematics below, the names and shapes of the parameters, and their draw.

Networks: images `(B, 28, 28, 1)` in [0, 1], latent Z = 64; kernels Glorot-uniform, biases zero.

- Encoder: convolutions 4x4, stride 2, padding `same`, of 32 and 64 channels, each with a leaky ReLU
  of slope 0.2; flattened; one dense layer for the mean of q(z|x) and one for its log-variance.
- Decoder: dense to 7x7x64, ReLU; transposed convolution 4x4, stride 2, padding `same`, to 32
  channels, ReLU; another one to 1 channel of logits.
- Discriminator D: convolutions as the encoder's; flattened; one dense layer to one logit. Its
  features f are the output of the second convolution, before the activation.

VAE, one player:

    z = mean + exp(log_variance / 2) eps,                 eps ~ N(0, I)
    L = mean over batch [ KL(q || N(0, I)) + reconstruction ]

where the reconstruction is the Bernoulli cross-entropy with the decoder's logits, summed over the
pixels, and KL is summed over Z. Adam with step 1e-3, beta1 0.9.

VAE/GAN (Chen, Fang and Ju 2016), two players, one forward pass:

    x_tilde = sigmoid(decoder(z)),    x_prior = sigmoid(decoder(z_p)),    z_p ~ N(0, I)
    real, recon, prior = D(x), D(x_tilde), D(x_prior)     (logits, three calls)
    matching = 1 / 2 |f(x) - f(x_tilde)|^2
    L_G = mean [ beta KL + gamma matching + softplus(-recon) + softplus(-prior) ]
    L_D = mean [ softplus(-real) + softplus(recon) + softplus(prior) ]

L_G moves the encoder and the decoder, L_D moves D; beta = gamma = 1. Both gradients are taken before
either update. Adam with step 1e-4 and beta1 0.5 for each. Adam has beta2 0.999 and epsilon 1e-7 added
to the root of the uncorrected second moment, as in Kingma and Ba 2015, section 2 (PyTorch's own Adam
adds it to the corrected one).

CVAE-GAN (Chen, Fang and Ju 2016), the same with labels y of K = 10 classes: one-hot, they stand beside
the flattened maps in the encoder and beside the codes in the decoder, of both fakes. D has K + 1 logits,
the last of fakes; with CE(logits, class) the cross-entropy:

    L_G = mean [ beta KL + gamma matching + CE(recon, y) + CE(prior, y) ]
    L_D = mean [ CE(real, y) + CE(recon, fake) + CE(prior, fake) ]

DRAW (Gregor et al. 2015), one player: T = 10 steps of two LSTMs of 256 units, glimpses of 5x5 Gaussian
filters, 10 codes a step, learned first states:

    x^_t = x - sigmoid(c_{t-1});  r_t = read(x, x^_t, h^dec_{t-1});  h^enc_t = LSTM([r_t, h^dec_{t-1}])
    z_t = mean_t + exp(log_variance_t / 2) eps_t;  h^dec_t = LSTM(z_t);  c_t = c_{t-1} + write(h^dec_t)
    L = mean over batch [ sum_t KL(q_t || N(0, I)) + cross-entropy of x with the logits c_T ]

with the filterbanks of eq. 19 to 26; Adam is that of the VAE.

Semi-supervised VAE, M2 (Kingma et al. 2014), one player, Z = 32, labels of one image in four and -1
elsewhere. Trunk: convolutions 5x5, padding `same`, of 16 and 32 channels, each with a ReLU and a 2x2 max
pooling; flattened; dense to 1024, ReLU. On its features a dense layer for the logits of q(y|x); and, with
the one-hot label beside them, a dense layer of 128 units, ReLU, and those for the mean and the log-variance
of q(z|x, y). Decoder: code and label, dense layers of 256 and 256 units, each with a ReLU, and one of logits.

    L(x, y) = KL(q(z|x, y) || N(0, I)) + reconstruction + log K,      eps the same for all y
    U(x)    = sum_y q(y|x) L(x, y) - H(q(y|x))
    J       = mean [ L where y is known, U where not ] + alpha mean over the known [ -log q(y|x) ]

alpha = 10; all classes are computed for all images, since U of all images is logged. Adam is that of the VAE.

A dense layer that sees a label beside x may be computed as kernel_x x + kernel_y[label]: summed over classes,
the first product is then made once for an image, and no one-hot labels are needed.

Logs of a step are those of our `fit`, see `LOGS`: `loss`, `kl` and `reconstruction` are those of the bound
in pixels; `d_real` and `d_fake` are D's probability of real, of real images and of both kinds of fakes;
`labelled`, `error` and `classification` are means over the labelled images.

Each module has `make(kind, batch_size, seed, **options)`, `kind` being a key of `ADAM`. It returns an object
with

- `run_epoch(images, labels)`: one pass over NumPy arrays in shuffled batches; the mean of each log over the
  images, summed on the device and read once at the end. Labels are int32 `(B,)`, None for a kind without;
- `step(images, noise, prior_noise, labels)`: one update with draws `(B, *noise_shape(kind))`; its logs;
- `parameters()`, `set_parameters(values)`: dict of NumPy arrays by name, in Keras' layouts:
  convolutions (h, w, in, out), transposed ones (h, w, out, in), dense (in, out), the gates of an LSTM in the
  order input, forget, candidate, output.
"""

import math

import numpy as np

LATENT_DIM = 64
#: Settings by which networks of the library are those above: of encoder and decoder, and of D.
NETWORK, JUDGE = {"units": (), "normalization": "none"}, {"filters": (32, 64)}
BETA = GAMMA = 1.0
SLOPE = 0.2
BETA_2, EPSILON = 0.999, 1e-7

#: Step size and beta1 of Adam.
ADAM = {
    "vae": (1e-3, 0.9),
    "vae_gan": (1e-4, 0.5),
    "cvae_gan": (1e-4, 0.5),
    "draw": (1e-3, 0.9),
    "ssl_vae": (1e-3, 0.9),
}

#: K, of the kinds that take labels.
CLASSES = 10
LABELLED_KINDS = ("cvae_gan", "ssl_vae")

#: T, units, side of a glimpse and codes of a step, of DRAW.
STEPS, UNITS, GLIMPSE, CODES = 10, 256, 5, 10

#: Z, channels of the trunk, units of its dense layer, of the encoder's and the decoder's, and alpha, of M2.
M2_CODES, M2_FILTERS, M2_FEATURES, M2_ENCODER, M2_DECODER, ALPHA = 32, (16, 32), 1024, 128, (256, 256), 10.0

BOUND = ("loss", "kl", "reconstruction")
GAME = ("generator", "discriminator", "feature_matching", "d_real", "d_fake")

LOGS = {
    "vae": BOUND,
    "vae_gan": (*BOUND, *GAME),
    "cvae_gan": (*BOUND, *GAME),
    "draw": BOUND,
    "ssl_vae": (*BOUND, "labelled", "unlabelled", "error", "classification"),
}

#: The logs that are means over the labelled images.
LOGS_OF_LABELLED = ("labelled", "error", "classification")


def dcgan_shapes(classes):
    """Shapes of the parameters of a VAE/GAN that knows so many classes, which may be 0."""
    return {
        "encoder_conv_0/kernel": (4, 4, 1, 32),
        "encoder_conv_0/bias": (32,),
        "encoder_conv_1/kernel": (4, 4, 32, 64),
        "encoder_conv_1/bias": (64,),
        "encoder_mean/kernel": (3136 + classes, LATENT_DIM),
        "encoder_mean/bias": (LATENT_DIM,),
        "encoder_log_variance/kernel": (3136 + classes, LATENT_DIM),
        "encoder_log_variance/bias": (LATENT_DIM,),
        "decoder_project/kernel": (LATENT_DIM + classes, 3136),
        "decoder_project/bias": (3136,),
        "decoder_deconv_0/kernel": (4, 4, 32, 64),
        "decoder_deconv_0/bias": (32,),
        "decoder_logits/kernel": (4, 4, 1, 32),
        "decoder_logits/bias": (1,),
        "discriminator_conv_0/kernel": (4, 4, 1, 32),
        "discriminator_conv_0/bias": (32,),
        "discriminator_conv_1/kernel": (4, 4, 32, 64),
        "discriminator_conv_1/bias": (64,),
        "discriminator_logits/kernel": (3136, classes + 1),
        "discriminator_logits/bias": (classes + 1,),
    }


DRAW_SHAPES = {
    "encoder_read/attention/kernel": (UNITS, 5),
    "encoder_read/attention/bias": (5,),
    "encoder_lstm/kernel": (2 * GLIMPSE**2 + UNITS, 4 * UNITS),
    "encoder_lstm/recurrent_kernel": (UNITS, 4 * UNITS),
    "encoder_lstm/bias": (4 * UNITS,),
    "encoder_mean/kernel": (UNITS, CODES),
    "encoder_mean/bias": (CODES,),
    "encoder_log_variance/kernel": (UNITS, CODES),
    "encoder_log_variance/bias": (CODES,),
    "decoder_lstm/kernel": (CODES, 4 * UNITS),
    "decoder_lstm/recurrent_kernel": (UNITS, 4 * UNITS),
    "decoder_lstm/bias": (4 * UNITS,),
    "decoder_write/patch/kernel": (UNITS, GLIMPSE**2),
    "decoder_write/patch/bias": (GLIMPSE**2,),
    "decoder_write/attention/kernel": (UNITS, 5),
    "decoder_write/attention/bias": (5,),
    "first_drawing/canvas": (28, 28, 1),
    "first_drawing/h": (UNITS,),
    "first_drawing/c": (UNITS,),
    "first_looking/h_encoder": (UNITS,),
    "first_looking/c_encoder": (UNITS,),
}

M2_SHAPES = {
    "trunk_conv_0/kernel": (5, 5, 1, M2_FILTERS[0]),
    "trunk_conv_0/bias": (M2_FILTERS[0],),
    "trunk_conv_1/kernel": (5, 5, *M2_FILTERS),
    "trunk_conv_1/bias": (M2_FILTERS[1],),
    "trunk_dense_0/kernel": (49 * M2_FILTERS[1], M2_FEATURES),
    "trunk_dense_0/bias": (M2_FEATURES,),
    "class_head_logits/kernel": (M2_FEATURES, CLASSES),
    "class_head_logits/bias": (CLASSES,),
    "encoder_dense_0/kernel": (M2_FEATURES + CLASSES, M2_ENCODER),
    "encoder_dense_0/bias": (M2_ENCODER,),
    "encoder_mean/kernel": (M2_ENCODER, M2_CODES),
    "encoder_mean/bias": (M2_CODES,),
    "encoder_log_variance/kernel": (M2_ENCODER, M2_CODES),
    "encoder_log_variance/bias": (M2_CODES,),
    "decoder_dense_0/kernel": (M2_CODES + CLASSES, M2_DECODER[0]),
    "decoder_dense_0/bias": (M2_DECODER[0],),
    "decoder_dense_1/kernel": M2_DECODER,
    "decoder_dense_1/bias": (M2_DECODER[1],),
    "decoder_logits/kernel": (M2_DECODER[1], 784),
    "decoder_logits/bias": (784,),
}

SHAPES = {
    "vae": {name: s for name, s in dcgan_shapes(0).items() if not name.startswith("discriminator")},
    "vae_gan": dcgan_shapes(0),
    "cvae_gan": dcgan_shapes(CLASSES),
    "draw": DRAW_SHAPES,
    "ssl_vae": M2_SHAPES,
}


def noise_shape(kind):
    """Shape of the draws of one image."""
    return {"draw": (STEPS, CODES), "ssl_vae": (M2_CODES,)}.get(kind, (LATENT_DIM,))


def num_draws(kind):
    """Draws of a step: of the posterior, and of the prior where there is a discriminator."""
    return 2 if names(kind)[1] else 1


def names(kind):
    """Names of the parameters of each player: `(generator's, discriminator's)`; the second may be empty."""
    if kind not in ADAM:
        raise ValueError(f"kind must be one of {tuple(ADAM)}; received {kind!r}.")
    second = [name for name in SHAPES[kind] if name.startswith("discriminator")]
    return [name for name in SHAPES[kind] if name not in second], second


def initial_parameters(kind, seed):
    """Glorot-uniform kernels and zero biases: dict of float32 arrays by name."""
    rng = np.random.default_rng(seed)
    values = {}
    for name in sum(names(kind), []):
        shape = SHAPES[kind][name]
        if name.endswith("bias") or name.startswith("first"):
            values[name] = np.zeros(shape, "float32")
        else:
            limit = math.sqrt(6.0 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))
            values[name] = rng.uniform(-limit, limit, shape).astype("float32")
    return values


def some_labels(kind, count):
    """Labels of so many images, int32 `(count,)`, of which M2 knows every fourth; None for a kind without.

    The classes take turns: among 40 images, each has one that is known.
    """
    if kind not in LABELLED_KINDS:
        return None
    turn, rest = np.divmod(np.arange(count, dtype="int32"), 4)
    known = kind != "ssl_vae" or rest == 0
    return np.where(known, turn % CLASSES, -1).astype("int32")


def as_logs(kind, means, labels):
    """Dict of logs, from their means over all images of a batch or an epoch.

    A log of labelled images is zero for the others.
    """
    known = 1.0 if labels is None else np.mean(labels >= 0)
    values = zip(LOGS[kind], means, strict=True)
    return {name: float(value / (known if name in LOGS_OF_LABELLED else 1.0)) for name, value in values}
