"""Training steps of a VAE, a VAE/GAN and a DRAW written by hand: what a framework's own user would write.

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
    L_G = mean [ beta KL + gamma / 2 |f(x) - f(x_tilde)|^2 + softplus(-recon) + softplus(-prior) ]
    L_D = mean [ softplus(-real) + softplus(recon) + softplus(prior) ]

L_G moves the encoder and the decoder, L_D moves D; beta = gamma = 1. Both gradients are taken before
either update. Adam with step 1e-4 and beta1 0.5 for each. Adam has beta2 0.999 and epsilon 1e-7 added
to the root of the uncorrected second moment, as in Kingma and Ba 2015, section 2 (PyTorch's own Adam
adds it to the corrected one). Logs of a step: the reconstruction in pixels, KL, L_G, L_D, the mean of
sigmoid(real), and the mean of sigmoid(recon) and sigmoid(prior); for the VAE: L, reconstruction, KL.

DRAW (Gregor et al. 2015), one player: T = 10 steps of two LSTMs of 256 units, glimpses of 5x5 Gaussian
filters, 10 codes a step, learned first states:

    x^_t = x - sigmoid(c_{t-1});  r_t = read(x, x^_t, h^dec_{t-1});  h^enc_t = LSTM([r_t, h^dec_{t-1}])
    z_t = mean_t + exp(log_variance_t / 2) eps_t;  h^dec_t = LSTM(z_t);  c_t = c_{t-1} + write(h^dec_t)
    L = mean over batch [ sum_t KL(q_t || N(0, I)) + cross-entropy of x with the logits c_T ]

with the filterbanks of eq. 19 to 26; logs and Adam are those of the VAE.

Each module has `make(kind, batch_size, seed, **options)`, `kind` being `vae`, `vae_gan` or `draw`. It returns
an object with

- `run_epoch(images)`: one pass over a NumPy array in shuffled batches; the mean of each log over the
  images, summed on the device and read once at the end;
- `step(images, noise, prior_noise)`: one update with these draws, `(B, *noise_shape(kind))`; its logs;
- `parameters()`, `set_parameters(values)`: dict of NumPy arrays by name, in Keras' layouts:
  convolutions (h, w, in, out), transposed ones (h, w, out, in), dense (in, out), the gates of an LSTM in the
  order input, forget, candidate, output.
"""

import math

import numpy as np

LATENT_DIM = 64
BETA = GAMMA = 1.0
SLOPE = 0.2
BETA_2, EPSILON = 0.999, 1e-7

#: Step size and beta1 of Adam.
ADAM = {"vae": (1e-3, 0.9), "vae_gan": (1e-4, 0.5), "draw": (1e-3, 0.9)}

#: T, units, side of a glimpse and codes of a step, of DRAW.
STEPS, UNITS, GLIMPSE, CODES = 10, 256, 5, 10

LOGS = {
    "vae": ("loss", "reconstruction", "kl"),
    "draw": ("loss", "reconstruction", "kl"),
    "vae_gan": ("reconstruction", "kl", "loss_g", "loss_d", "d_real", "d_fake"),
}

SHAPES = {
    "encoder_conv_0/kernel": (4, 4, 1, 32),
    "encoder_conv_0/bias": (32,),
    "encoder_conv_1/kernel": (4, 4, 32, 64),
    "encoder_conv_1/bias": (64,),
    "encoder_mean/kernel": (3136, LATENT_DIM),
    "encoder_mean/bias": (LATENT_DIM,),
    "encoder_log_variance/kernel": (3136, LATENT_DIM),
    "encoder_log_variance/bias": (LATENT_DIM,),
    "decoder_project/kernel": (LATENT_DIM, 3136),
    "decoder_project/bias": (3136,),
    "decoder_deconv_0/kernel": (4, 4, 32, 64),
    "decoder_deconv_0/bias": (32,),
    "decoder_logits/kernel": (4, 4, 1, 32),
    "decoder_logits/bias": (1,),
    "discriminator_conv_0/kernel": (4, 4, 1, 32),
    "discriminator_conv_0/bias": (32,),
    "discriminator_conv_1/kernel": (4, 4, 32, 64),
    "discriminator_conv_1/bias": (64,),
    "discriminator_logits/kernel": (3136, 1),
    "discriminator_logits/bias": (1,),
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


def noise_shape(kind):
    """Shape of the draws of one image."""
    return (STEPS, CODES) if kind == "draw" else (LATENT_DIM,)


def names(kind):
    """Names of the parameters of each player: `(generator's, discriminator's)`; a VAE has no second."""
    if kind not in ADAM:
        raise ValueError(f"kind must be one of {tuple(ADAM)}; received {kind!r}.")
    if kind == "draw":
        return list(DRAW_SHAPES), []
    second = [name for name in SHAPES if name.startswith("discriminator")]
    return [name for name in SHAPES if name not in second], second if kind == "vae_gan" else []


def initial_parameters(kind, seed):
    """Glorot-uniform kernels and zero biases: dict of float32 arrays by name."""
    rng = np.random.default_rng(seed)
    values = {}
    for name in sum(names(kind), []):
        shape = (DRAW_SHAPES if kind == "draw" else SHAPES)[name]
        if name.endswith("bias") or name.startswith("first"):
            values[name] = np.zeros(shape, "float32")
        else:
            limit = math.sqrt(6.0 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))
            values[name] = rng.uniform(-limit, limit, shape).astype("float32")
    return values
