"""The steps in plain PyTorch: modules in channels-last format, one forward pass, a gradient per player."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import rivals


class Encoder(nn.Module):
    """q(z|x), given one-hot labels or None: images `(B, 1, 28, 28)` -> mean, log-variance, each `(B, Z)`."""

    def __init__(self, classes):
        super().__init__()
        # Padding 1 is what `same` means for a 4x4 kernel of stride 2 on an even size.
        self.conv_0 = nn.Conv2d(1, 32, 4, stride=2, padding=1)
        self.conv_1 = nn.Conv2d(32, 64, 4, stride=2, padding=1)
        self.mean = nn.Linear(3136 + classes, rivals.LATENT_DIM)
        self.log_variance = nn.Linear(3136 + classes, rivals.LATENT_DIM)

    def forward(self, x, labels):
        x = functional.leaky_relu(self.conv_0(x), rivals.SLOPE)
        x = beside(flatten(functional.leaky_relu(self.conv_1(x), rivals.SLOPE)), labels)
        return self.mean(x), self.log_variance(x)


class Decoder(nn.Module):
    """p(x|z), given one-hot labels or None: codes `(B, Z)` -> logits `(B, 1, 28, 28)`."""

    def __init__(self, classes):
        super().__init__()
        self.project = nn.Linear(rivals.LATENT_DIM + classes, 3136)
        self.deconv_0 = nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1)
        self.logits = nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1)

    def forward(self, codes, labels):
        x = functional.relu(self.project(beside(codes, labels)))
        x = x.view(-1, 7, 7, 64).permute(0, 3, 1, 2)  # channels-last already, no copy
        return self.logits(functional.relu(self.deconv_0(x)))


class Discriminator(nn.Module):
    """D(x): images `(B, 1, 28, 28)` -> logits `(B, 1)` or `(B, K + 1)`, and features `(B, 64, 7, 7)`."""

    def __init__(self, classes):
        super().__init__()
        self.conv_0 = nn.Conv2d(1, 32, 4, stride=2, padding=1)
        self.conv_1 = nn.Conv2d(32, 64, 4, stride=2, padding=1)
        self.logits = nn.Linear(3136, classes + 1)

    def forward(self, x):
        features = self.conv_1(functional.leaky_relu(self.conv_0(x), rivals.SLOPE))
        return self.logits(flatten(functional.leaky_relu(features, rivals.SLOPE))), features


class Draw(nn.Module):
    """DRAW: images `(B, 1, 28, 28)` and noise `(B, T, Z)` -> KL in nats, mean over the batch, and logits."""

    def __init__(self):
        super().__init__()
        units, glimpse, codes = rivals.UNITS, rivals.GLIMPSE, rivals.CODES
        self.read = nn.Linear(units, 5)
        self.encoder = nn.LSTMCell(2 * glimpse**2 + units, units)
        self.mean, self.log_variance = nn.Linear(units, codes), nn.Linear(units, codes)
        self.decoder = nn.LSTMCell(codes, units)
        self.patch, self.write = nn.Linear(units, glimpse**2), nn.Linear(units, 5)
        self.canvas = nn.Parameter(torch.zeros(28, 28, 1))
        self.h, self.c, self.h_encoder, self.c_encoder = (nn.Parameter(torch.zeros(units)) for _ in range(4))
        for cell in (self.encoder, self.decoder):  # PyTorch has two biases where one is enough
            nn.init.zeros_(cell.bias_hh)
            cell.bias_hh.requires_grad_(False)

    def forward(self, images, noise, labels):
        del labels
        images, count, kl = images[:, 0], len(images), 0.0
        state, seen = (
            tuple(value.expand(count, -1) for value in pair)
            for pair in ((self.h, self.c), (self.h_encoder, self.c_encoder))
        )
        canvas = self.canvas[..., 0].expand(count, -1, -1)
        for t in range(rivals.STEPS):
            rows, columns, intensity = filterbanks(self.read(state[0]))
            both = torch.stack([images, images - torch.sigmoid(canvas)], dim=1)
            glimpse = intensity[..., None, None] * (rows[:, None] @ both @ columns[:, None].mT)
            # Both channels of a pixel side by side.
            glimpse = glimpse.permute(0, 2, 3, 1).flatten(1)
            seen = self.encoder(torch.cat([glimpse, state[0]], dim=1), seen)
            mean, log_variance = self.mean(seen[0]), self.log_variance(seen[0])
            kl = kl + mean_kl(mean, log_variance)
            z = torch.addcmul(mean, torch.exp(0.5 * log_variance), noise[:, t])
            state = self.decoder(z, state)
            rows, columns, intensity = filterbanks(self.write(state[0]))
            patch = self.patch(state[0]).view(-1, rivals.GLIMPSE, rivals.GLIMPSE)
            canvas = canvas + rows.mT @ patch @ columns / intensity[..., None]
        return kl, canvas[:, None]

    def named(self):
        """The parameters by their Keras names."""
        layers = {
            "encoder_read/attention": self.read,
            "encoder_mean": self.mean,
            "encoder_log_variance": self.log_variance,
            "decoder_write/patch": self.patch,
            "decoder_write/attention": self.write,
        }
        found = {}
        for name, layer in layers.items():
            found |= {f"{name}/kernel": layer.weight, f"{name}/bias": layer.bias}
        for name, cell in (("encoder_lstm", self.encoder), ("decoder_lstm", self.decoder)):
            found |= {f"{name}/kernel": cell.weight_ih, f"{name}/recurrent_kernel": cell.weight_hh}
            found[f"{name}/bias"] = cell.bias_ih
        found |= {f"first_drawing/{part}": getattr(self, part) for part in ("canvas", "h", "c")}
        return found | {f"first_looking/{part}": getattr(self, part) for part in ("h_encoder", "c_encoder")}


def filterbanks(parameters):
    """F_Y and F_X `(B, N, 28)`, and the intensity `(B, 1)`."""
    g_x, g_y, log_variance, log_stride, log_intensity = parameters.split(1, dim=1)
    stride = 27 / (rivals.GLIMPSE - 1) * torch.exp(log_stride)
    steps = torch.arange(1, rivals.GLIMPSE + 1) - rivals.GLIMPSE / 2 - 0.5
    places = torch.arange(1.0, 29.0)
    banks = []
    for g in (g_y, g_x):
        means = 14.5 * (g + 1) + steps * stride
        exponent = -0.5 * (places - means[..., None]).square() * torch.exp(-log_variance)[..., None]
        banks.append(torch.softmax(exponent, dim=-1))
    return *banks, torch.exp(log_intensity)


class SemiSupervised(nn.Module):
    """M2: images `(B, 1, 28, 28)`, noise `(B, Z)` -> log q(y|x), KL and reconstruction, `(K, B)` in nats.

    The layers have their Keras names.
    """

    def __init__(self):
        super().__init__()
        first, second = rivals.M2_FILTERS
        self.trunk_conv_0 = nn.Conv2d(1, first, 5, padding=2)
        self.trunk_conv_1 = nn.Conv2d(first, second, 5, padding=2)
        self.trunk_dense_0 = nn.Linear(49 * second, rivals.M2_FEATURES)
        self.class_head_logits = nn.Linear(rivals.M2_FEATURES, rivals.CLASSES)
        self.encoder_dense_0 = nn.Linear(rivals.M2_FEATURES + rivals.CLASSES, rivals.M2_ENCODER)
        self.encoder_mean = nn.Linear(rivals.M2_ENCODER, rivals.M2_CODES)
        self.encoder_log_variance = nn.Linear(rivals.M2_ENCODER, rivals.M2_CODES)
        self.decoder_dense_0 = nn.Linear(rivals.M2_CODES + rivals.CLASSES, rivals.M2_DECODER[0])
        self.decoder_dense_1 = nn.Linear(*rivals.M2_DECODER)
        self.decoder_logits = nn.Linear(rivals.M2_DECODER[1], 784)

    def forward(self, images, noise):
        # Pooling before the ReLU leaves it a quarter of the work.
        x = functional.relu(functional.max_pool2d(self.trunk_conv_0(images), 2))
        x = functional.relu(functional.max_pool2d(self.trunk_conv_1(x), 2))
        features = functional.relu(self.trunk_dense_0(flatten(x)))
        log_q = functional.log_softmax(self.class_head_logits(features), dim=1).T
        x = functional.relu(by_class(self.encoder_dense_0, features))
        mean, log_variance = self.encoder_mean(x), self.encoder_log_variance(x)
        x = torch.addcmul(mean, torch.exp(0.5 * log_variance), noise)
        x = functional.relu(by_class(self.decoder_dense_0, x))
        logits = self.decoder_logits(functional.relu(self.decoder_dense_1(x)))
        pixels = images.reshape(len(images), -1).expand_as(logits)
        reconstruction = functional.binary_cross_entropy_with_logits(logits, pixels, reduction="none")
        return log_q, kl_of(mean, log_variance), reconstruction.sum(-1)

    def named(self):
        """The parameters by their Keras names."""
        return {
            name: getattr(getattr(self, name.split("/")[0]), "bias" if name.endswith("bias") else "weight")
            for name in rivals.SHAPES["ssl_vae"]
        }


def by_class(layer, x):
    """The layer on `x` and the one-hot label side by side: `(B, F)` or `(K, B, F)` -> `(K, B, units)`."""
    of_x, of_class = layer.weight.split((x.shape[-1], rivals.CLASSES), dim=1)
    return functional.linear(x, of_x) + (of_class.T + layer.bias)[:, None]


class Trainer:
    """Training of one `kind`; see `make`."""

    def __init__(self, kind, batch_size, seed, fused):
        self.kind, self.batch_size = kind, batch_size
        if kind in ("draw", "ssl_vae"):
            self.forward = Draw() if kind == "draw" else SemiSupervised()
            self.forward.to(memory_format=torch.channels_last)
            self.weights = self.forward.named()
        else:
            self.forward = self.reconstruct
            classes = rivals.CLASSES if kind == "cvae_gan" else 0
            self.encoder, self.decoder = Encoder(classes), Decoder(classes)
            self.networks = {"encoder": self.encoder, "decoder": self.decoder}
            if kind != "vae":
                self.networks["discriminator"] = self.discriminator = Discriminator(classes)
            for network in self.networks.values():
                network.to(memory_format=torch.channels_last)
            self.weights = {name: self.find(name) for name in sum(rivals.names(kind), [])}
        self.update = {
            "vae": self.update_bound,
            "draw": self.update_bound,
            "vae_gan": self.update_vae_gan,
            "cvae_gan": self.update_vae_gan,
            "ssl_vae": self.update_semi_supervised,
        }[kind]
        self.set_parameters(rivals.initial_parameters(kind, seed))
        rate, beta_1 = rivals.ADAM[kind]
        self.players = [[self.weights[name] for name in names] for names in rivals.names(kind) if names]
        self.optimizers = [
            torch.optim.Adam(
                player, rate, (beta_1, rivals.BETA_2), rivals.EPSILON, fused=fused, foreach=not fused
            )
            for player in self.players
        ]
        self.generator = torch.Generator().manual_seed(seed)

    def find(self, name):
        """The parameter of that Keras name."""
        layer, part = name.split("/")
        network, _, layer = layer.partition("_")
        return getattr(getattr(self.networks[network], layer), "bias" if part == "bias" else "weight")

    # Losses and updates.

    def reconstruct(self, images, noise, labels):
        """KL in nats, mean over the batch, and logits, of a VAE, given one-hot labels or None."""
        mean, log_variance = self.encoder(images, labels)
        logits = self.decoder(torch.addcmul(mean, torch.exp(0.5 * log_variance), noise), labels)
        return mean_kl(mean, log_variance), logits

    def update_bound(self, images, noise, prior_noise, labels):
        del prior_noise
        kl, logits = self.forward(images, noise, labels)
        reconstruction = cross_entropy(images, logits)
        loss = kl + reconstruction
        self.apply(0, loss)
        self.optimizers[0].step()
        return torch.stack([loss.detach(), kl.detach(), reconstruction.detach()])

    def update_semi_supervised(self, images, noise, prior_noise, labels):
        del prior_noise
        known = labels >= 0
        # What is of each class is `(K, B, ...)`.
        one_hot = functional.one_hot(labels.clamp(min=0).long(), rivals.CLASSES).T * known.float()
        log_q, kl, reconstruction = self.forward(images, noise)
        q = log_q.exp()
        bound = kl + reconstruction + math.log(rivals.CLASSES)
        labelled = (one_hot * bound).sum(0)
        unlabelled = (q * (bound + log_q)).sum(0)
        nats = torch.where(known, labelled, unlabelled).mean()
        classification = -mean_of_sum(one_hot, log_q)
        share = known.float().mean().clamp(min=1e-6)
        self.apply(0, nats + rivals.ALPHA * classification / share)
        self.optimizers[0].step()
        with torch.no_grad():
            shares = torch.where(known, one_hot, q)
            logs = [
                nats,
                mean_of_sum(shares, kl),
                mean_of_sum(shares, reconstruction),
                labelled.mean(),
                unlabelled.mean(),
                (known & (log_q.argmax(0) != labels)).float().mean(),
                classification,
            ]
            return torch.stack(logs)

    def update_vae_gan(self, images, noise, prior_noise, labels):
        if labels is not None:
            labels = functional.one_hot(labels.long(), rivals.CLASSES).float()
        kl, logits = self.forward(images, noise, labels)
        real, features = self.discriminator(images)
        recon, recon_features = self.discriminator(torch.sigmoid(logits))
        prior, _ = self.discriminator(torch.sigmoid(self.decoder(prior_noise, labels)))
        (real, not_real), (recon, not_recon), (prior, not_prior) = (
            log_verdict(verdict, labels) for verdict in (real, recon, prior)
        )
        # f(x) does not depend on G: without `detach` its branch would stay in G's graph.
        matching = 0.5 / len(images) * functional.mse_loss(recon_features, features.detach(), reduction="sum")
        loss_g = rivals.BETA * kl + rivals.GAMMA * matching - (recon + prior).mean()
        loss_d = -(real + not_recon + not_prior).mean()
        # `autograd.grad` with `inputs` computes what leads to these inputs and nothing else.
        self.apply(0, loss_g, retain_graph=True)
        self.apply(1, loss_d)
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            reconstruction = cross_entropy(images, logits)
            d_real = 1.0 - not_real.exp().mean()
            d_fake = 1.0 - 0.5 * (not_recon.exp() + not_prior.exp()).mean()
            logs = [kl + reconstruction, kl, reconstruction, loss_g, loss_d, matching, d_real, d_fake]
            return torch.stack(logs)

    def apply(self, player, loss, retain_graph=False):
        """Leave the gradient of that player's loss where its optimiser looks for it."""
        weights = self.players[player]
        gradients = torch.autograd.grad(loss, weights, retain_graph=retain_graph)
        for weight, gradient in zip(weights, gradients, strict=True):
            layout = torch.channels_last if weight.ndim == 4 else torch.contiguous_format
            weight.grad = gradient.contiguous(memory_format=layout)  # the fused Adam looks at no strides

    # Interface.

    def run_epoch(self, images, labels=None):
        """One pass over `images` in shuffled batches: dict of means."""
        # One channel: the same memory is channels-first and channels-last.
        data = torch.from_numpy(images).permute(0, 3, 1, 2)
        targets = None if labels is None else torch.from_numpy(labels)
        totals = torch.zeros(len(rivals.LOGS[self.kind]))
        shape = rivals.num_draws(self.kind), rivals.noise_shape(self.kind)
        for index in torch.randperm(len(data), generator=self.generator).split(self.batch_size):
            noise = torch.randn(shape[0], len(index), *shape[1], generator=self.generator)
            batch_targets = None if targets is None else targets[index]
            totals.add_(self.update(data[index], noise[0], noise[-1], batch_targets), alpha=len(index))
        return rivals.as_logs(self.kind, (totals / len(data)).tolist(), labels)

    def step(self, images, noise, prior_noise=None, labels=None):
        """One update with these draws: dict of logs."""
        prior_noise = noise if prior_noise is None else prior_noise
        images = torch.from_numpy(images).permute(0, 3, 1, 2)
        targets = None if labels is None else torch.from_numpy(labels)
        logs = self.update(images, torch.from_numpy(noise), torch.from_numpy(prior_noise), targets)
        return rivals.as_logs(self.kind, logs.tolist(), labels)

    def parameters(self):
        """The parameters: dict of NumPy arrays in Keras' layouts."""
        return {name: to_keras(weight.detach().numpy()) for name, weight in self.weights.items()}

    @torch.no_grad()
    def set_parameters(self, values):
        """Set the parameters, not Adam's moments, from a dict as of `parameters`."""
        for name, weight in self.weights.items():
            weight.copy_(torch.from_numpy(from_keras(values[name])))


def to_keras(weight):
    """PyTorch's layout to Keras'. The axes of both kinds of convolution move alike."""
    return np.array(weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else turned(weight))


def from_keras(weight):
    """Keras' layout to PyTorch's."""
    return np.array(weight.transpose(3, 2, 0, 1) if weight.ndim == 4 else turned(weight))


def turned(weight):
    """A matrix transposed; a vector, or an image, as it is."""
    return weight.T if weight.ndim == 2 else weight


def flatten(x):
    """`(B, C, H, W)` in channels-last memory -> `(B, HWC)`, in Keras' order and without a copy."""
    return x.permute(0, 2, 3, 1).flatten(1)


def beside(x, labels):
    """`x` and the labels side by side, where there are labels."""
    return x if labels is None else torch.cat([x, labels], dim=1)


def log_verdict(logits, labels):
    """log D and log(1 - D), or log-probabilities of the class and of fakes where there are one-hot labels."""
    if labels is None:
        return functional.logsigmoid(logits), functional.logsigmoid(-logits)
    shares = functional.log_softmax(logits, dim=1)
    return (labels * shares[:, :-1]).sum(1), shares[:, -1]


def kl_of(mean, log_variance):
    """KL(q || N(0, I)) in nats, without the last axis."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(-1)


def mean_kl(mean, log_variance):
    """KL(q || N(0, I)) in nats, mean over the batch."""
    return kl_of(mean, log_variance).mean()


def cross_entropy(images, logits):
    """Bernoulli cross-entropy in nats, mean over the batch."""
    return functional.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)


def mean_of_sum(shares, values):
    """Sum over the classes of values weighed by shares, both `(K, B)`, then mean over the batch."""
    return (shares * values).sum(0).mean()


def make(kind, batch_size=128, seed=0, fused=True):
    """Trainer of one kind of model.

    Args:
        kind: one of `rivals.ADAM`.
        batch_size: images per step of `run_epoch`; the last batch may be smaller.
        seed: of the parameters, the draws and the order of the images.
        fused: Adam in one kernel, else by operations on lists of tensors (`foreach`).
    """
    return Trainer(kind, batch_size, seed, fused)
