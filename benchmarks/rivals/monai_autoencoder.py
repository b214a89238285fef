"""Our VAE/GAN against MONAI's `AutoencoderKL` with its `PatchDiscriminator`, on the same images.

    python -m benchmarks.rivals.monai_autoencoder --dataset fruits --finer --steps 4000 --work WORK \\
        --output benchmarks/results/monai.md --picture docs/images/monai.jpg
    python -m benchmarks.rivals.monai_autoencoder --dataset fruits --work WORK --time

Run it in an environment with this package, PyTorch and `monai` from PyPI. The dataset is a folder of images
with the sub-folders `train` and `test`, which hold a folder for each class. One image in ten of `train` is
held out for validation.

Both sides get the same batches in the same order, the same code channels and a quarter of the image's height
and width. Their generators have the same number of parameters within 5 %, and so have their discriminators;
else the script stops. Each side trains as its authors say:

- MONAI trains as in its tutorial `2d_autoencoderkl`: L1, the KL (1e-6), a perceptual loss (0.001) and least
  squares (0.01), and Adam with 1e-4 and 5e-4. The networks are those of the tutorial, but narrower. MONAI's
  `PerceptualLoss` downloads its weights, so both sides have the perceptual loss of this package.
  `--perceptual none` leaves it out on both sides.
- Ours trains by the recipe for large images (`presets.RecipeChoice("vae_gan")`).

`--set` changes our recipe and `--rival` the `Rival`, as in `--set game.weight=0.1 --rival schedule=cosine`.
Scores are those of `benchmarks.worth_of_gan`, in the same judge. Each run adds a line to WORK/monai.jsonl as
it ends; runs that are there are not repeated. `--time` measures a step's processor time alone.
"""

import argparse
import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import statistics
import time

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
from PIL import Image

from benchmarks import command, judge, own_images, worth_of_gan
from benchmarks.worth_of_gan import SCORES, SPLITS
from keras_vaegan import data as kvg_data
from keras_vaegan import plots, presets
from keras_vaegan.data.views import in_floats
from keras_vaegan.files import atomic_path
from keras_vaegan.perceptual import IMAGENET, FeatureDistance

TOLERANCE = 0.05  # by which the numbers of parameters may differ
SHOWN, ZOOM = 8, 4  # images in the picture, and how large their pixels are


@dataclasses.dataclass
class Rival:
    """Settings of MONAI's side; the defaults are the tutorial's, but for widths and groups.

    Attributes:
        channels: widths at full resolution, a half and a quarter of it.
        blocks: residual blocks at each of them.
        attention: at the lowest resolution, and in the two blocks that follow it.
        groups: of each group normalization.
        discriminator: width of D's first convolution, which doubles.
        layers: of D between the first convolution and the logits.
        generator_rate, discriminator_rate: learning rates of Adam.
        schedule: `constant`, or `cosine`, down to a fiftieth as ours.
        kl, perceptual, adversarial: weights in the loss, beside 1 for the mean of |x - x~|.
        channels_last: whether networks and images have the channels last in memory.
    """

    channels: tuple[int, ...] = (24, 48, 88)
    blocks: tuple[int, ...] = (1, 1, 1)
    attention: bool = True
    groups: int = 8
    discriminator: int = 32
    layers: int = 2
    generator_rate: float = 1e-4
    discriminator_rate: float = 5e-4
    schedule: str = "constant"
    kl: float = 1e-6
    perceptual: float = 1e-3
    adversarial: float = 1e-2
    channels_last: bool = False


class Monai:
    """MONAI's networks and the loop of its tutorial."""

    def __init__(self, settings, image_shape, recipe, seed):
        from monai.losses import PatchAdversarialLoss
        from monai.networks.nets import AutoencoderKL, PatchDiscriminator

        keras.utils.set_random_seed(seed)  # of PyTorch, too
        self.settings, channels = settings, image_shape[-1]
        self.generator = AutoencoderKL(
            spatial_dims=2,
            in_channels=channels,
            out_channels=channels,
            channels=settings.channels,
            latent_channels=recipe["networks"]["latent_dim"],
            num_res_blocks=settings.blocks,
            norm_num_groups=settings.groups,
            attention_levels=(*(False for _ in settings.channels[1:]), settings.attention),
            with_encoder_nonlocal_attn=settings.attention,
            with_decoder_nonlocal_attn=settings.attention,
        )
        self.discriminator = PatchDiscriminator(
            spatial_dims=2,
            num_layers_d=settings.layers,
            channels=settings.discriminator,
            in_channels=channels,
            out_channels=1,
        )
        self.layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        for network in (self.generator, self.discriminator):
            network.to(memory_format=self.layout)
        self.adversarial = PatchAdversarialLoss(criterion="least_squares")
        self.perceptual = FeatureDistance(IMAGENET, None, image_shape) if settings.perceptual else None
        self.optimizers, self.schedules = [], []
        for network, rate in (
            (self.generator, settings.generator_rate),
            (self.discriminator, settings.discriminator_rate),
        ):
            self.optimizers.append(optimizer := torch.optim.Adam(network.parameters(), rate))
            if settings.schedule == "cosine":
                cosine = torch.optim.lr_scheduler.CosineAnnealingLR
                self.schedules.append(cosine(optimizer, recipe["training"]["steps"], rate / 50))

    def parameters(self):
        """Of the generator and of the discriminator."""
        networks = self.generator, self.discriminator
        return [sum(weight.numel() for weight in network.parameters()) for network in networks]

    def channels_first(self, images):
        """`(B, H, W, C)` in NumPy -> `(B, C, H, W)` in PyTorch."""
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=self.layout)

    def train(self, batches):
        """One pass over the batches."""
        self.generator.train()
        self.discriminator.train()
        for (images,) in batches:
            self.step(self.channels_first(images))
            for schedule in self.schedules:
                schedule.step()

    def step(self, x):
        """The generator's update, then the discriminator's."""
        settings, (of_generator, of_discriminator) = self.settings, self.optimizers
        of_generator.zero_grad(set_to_none=True)
        made, mean, sigma = self.generator(x)
        variance = sigma.square()
        kl = 0.5 * (mean.square() + variance - torch.log(variance) - 1.0).sum((1, 2, 3)).mean()
        loss = torch.nn.functional.l1_loss(made, x) + settings.kl * kl
        if self.perceptual is not None:
            distance = self.perceptual(x.permute(0, 2, 3, 1), made.permute(0, 2, 3, 1)).mean()
            loss = loss + settings.perceptual * distance
        verdict = self.discriminator(made.contiguous(memory_format=self.layout))[-1]
        fooled = self.adversarial(verdict, target_is_real=True, for_discriminator=False)
        (loss + settings.adversarial * fooled).backward()
        of_generator.step()

        of_discriminator.zero_grad(set_to_none=True)
        made = made.detach().contiguous(memory_format=self.layout)
        costs = [
            self.adversarial(self.discriminator(images)[-1], target_is_real=real, for_discriminator=True)
            for images, real in ((made, False), (x, True))
        ]
        (0.5 * settings.adversarial * sum(costs)).backward()
        of_discriminator.step()

    @torch.no_grad()
    def reconstruct(self, images, batch_size=100):
        """Images `(N, H, W, C)` encoded, and decoded from the mean of their code."""
        self.generator.eval()
        parts = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
        made = [self.generator.reconstruct(self.channels_first(part)).permute(0, 2, 3, 1) for part in parts]
        return torch.cat(made).clamp(0.0, 1.0).numpy()


class Ours:
    """Our model of a recipe, under stock `fit`."""

    def __init__(self, recipe, image_shape, seed):
        keras.utils.set_random_seed(seed)
        self.model = presets.build(recipe, image_shape, seed=seed)

    def parameters(self):
        """Of the generator and of the discriminator."""
        players = self.model.player_variables()
        return [
            sum(int(np.prod(weight.shape)) for weight in players[name])
            for name in ("generator", "discriminator")
        ]

    def train(self, batches):
        """One pass over the batches."""
        self.model.fit(batches, shuffle=False, verbose=0)

    def reconstruct(self, images):
        """Images `(N, H, W, C)` encoded, and decoded from the mean of their code."""
        return self.model.reconstruct(images)


# ---- what is asked for ----


def recipe_of(options, image_shape, num_images=None):
    """Our recipe as the options change it."""
    changes = [("family", "resnet"), ("training.steps", options.steps), ("batch_size", options.batch)]
    if options.perceptual == "none":
        changes.append(("reconstruction.perceptual", 0.0))
    choice = presets.RecipeChoice("vae_gan", options.dataset.name, [*changes, *options.set])
    return choice.for_images(image_shape, num_images)


def rival_of(options):
    """MONAI's settings as the options change them."""
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in options.rival}
    none = {"perceptual": 0.0} if options.perceptual == "none" else {}
    return Rival(**{**none, **given})


def setting(text):
    """NAME=VALUE, with a value in JSON or as text."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def check_parameters(theirs, ours):
    """Raise unless the networks of both sides have the same number of parameters, within 5 %."""
    counts = theirs.parameters(), ours.parameters()
    for network, their, my in zip(("generators", "discriminators"), *counts, strict=True):
        if abs(my / their - 1.0) > TOLERANCE:
            raise SystemExit(
                f"The {network} must have the same number of parameters within {TOLERANCE:.0%}; MONAI's has "
                f"{their:,} and ours {my:,}. Change --rival channels=[...] or --set encoder.filters=[...]."
            )


# ---- runs ----


def results(work):
    """The runs that have ended."""
    return command.read_lines(work / "monai.jsonl")


def keep(work, run):
    """Add a run to those that have ended."""
    command.add_line(work / "monai.jsonl", run)


def train(options, data):
    """Train and score what WORK has no result of; all runs that were asked for."""
    shape, asked = data.image_shape, []
    name = options.dataset.name
    network, known = judge.of_dataset(options.dataset, data, options.work, name, options.finer)
    recipe, rival = recipe_of(options, shape, len(data.train[0])), rival_of(options)
    check_parameters(Monai(rival, shape, recipe, 0), Ours(recipe, shape, 0))
    for seed in options.seeds:
        for name, kind, settings in (("MONAI", Monai, rival), ("ours", Ours, recipe)):
            settled = dataclasses.asdict(settings) if kind is Monai else settings
            run = {"model": name, "data": options.dataset.name, "seed": seed, "batch": options.batch}
            run |= {"steps": options.steps, "settings": json.loads(json.dumps(settled))}
            done = [one for one in results(options.work) if run.items() <= one.items()]
            if not done:
                model = kind(rival, shape, recipe, seed) if kind is Monai else kind(recipe, shape, seed)
                done = [run | {"judge": known} | trained(options, data, model, network, name, seed)]
                keep(options.work, done[0])
                print(name, seed, *(done[0][split] for split in SPLITS), flush=True)
            asked.append(done[-1])
            if options.output:
                write_page(options, data, asked)
    return asked


def trained(options, data, model, network, name, seed):
    """Train a model and score its reconstructions; some are kept for the picture."""
    begun = time.process_time()
    model.train(batches_of(options, data, seed, options.steps))
    found = {"parameters": model.parameters(), "processor_seconds": time.process_time() - begun}
    for split in SPLITS:
        x = in_floats(getattr(data, split)[0][:])
        found[split] = worth_of_gan.scores(model, x, network)
    with atomic_path(options.work / f"{name}_{seed}.npz") as temporary:
        np.savez_compressed(temporary, made=model.reconstruct(shown(data)))
    return found


def batches_of(options, data, seed, steps):
    """One pass of so many batches, the same for both sides."""
    return kvg_data.Batches(data.train[0], batch_size=options.batch, seed=seed, steps_per_epoch=steps)


def shown(data):
    """The test images that the picture has."""
    return own_images.a_few(data.test[0], SHOWN)


def measure_time(options, data):
    """Processor seconds of a step, by turns in blocks on one thread, and the ratios theirs / ours."""
    torch.set_num_threads(1)
    shape, seconds = data.image_shape, {}
    recipe, rival = recipe_of(options, shape), rival_of(options)
    last = dataclasses.replace(rival, channels_last=True)
    models = {
        "MONAI": Monai(rival, shape, recipe, 0),
        "MONAI, channels last": Monai(last, shape, recipe, 0),
        "ours": Ours(recipe, shape, 0),
    }
    check_parameters(models["MONAI"], models["ours"])
    for turn in range(options.rounds + 1):
        for name, model in models.items():
            batches = batches_of(options, data, turn, options.block)
            begun = time.process_time()
            model.train(batches)
            if turn:  # the first warms up
                seconds.setdefault(name, []).append((time.process_time() - begun) / options.block)
    found = {
        "time": seconds,
        "batch": options.batch,
        "parameters": {name: model.parameters() for name, model in models.items()},
        "settings": [recipe, dataclasses.asdict(rival)],
    }
    keep(options.work, found)
    return found


# ---- the page ----


def time_lines(seconds):
    """The times of a step as rows of Markdown."""
    lines = [
        "| rival | rival, s a step | ours, s a step | ratio: median (least to most) |",
        "|---|---|---|---|",
    ]
    mine = seconds["ours"]
    for name, theirs in seconds.items():
        if name != "ours":
            ratios = sorted(their / my for their, my in zip(theirs, mine, strict=True))
            lines.append(
                f"| {name} | {statistics.median(theirs):.3f} | {statistics.median(mine):.3f} "
                f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
            )
    return lines


def score_lines(runs):
    """The scores as rows of Markdown: of each run, then the mean of each model."""
    names = [f"{split}: {name}" for split in SPLITS for name in SCORES.values()]
    lines = [
        f"| model | seed | parameters, G and D | {' | '.join(names)} |",
        "|---" * (len(names) + 3) + "|",
    ]
    for model in dict.fromkeys(run["model"] for run in runs):
        own = [run for run in runs if run["model"] == model]
        values = [[run[split][score] for split in SPLITS for score in SCORES] for run in own]
        rows = [(str(run["seed"]), row) for run, row in zip(own, values, strict=True)]
        rows.append(("mean", [statistics.mean(column) for column in zip(*values, strict=True)]))
        counts = " and ".join(f"{number:,}" for number in own[0]["parameters"])
        for seed, row in rows:
            lines.append(f"| {model} | {seed} | {counts} | {' | '.join(f'{one:.4g}' for one in row)} |")
    return lines


def write_page(options, data, runs):
    """Write the table of the runs so far."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("monai", "torch", "keras")]
    sizes = [f"{len(getattr(data, split)[0]):,} {split}" for split in ("train", *SPLITS)]
    times = [run["time"] for run in results(options.work) if "time" in run]
    settings = {run["model"]: json.dumps(run["settings"]) for run in runs}
    text = [
        "# VAE/GAN against MONAI's AutoencoderKL with its PatchDiscriminator",
        "",
        f"{options.dataset.name}: {', '.join(sizes)} images; {options.steps:,} steps of {options.batch}; "
        f"{', '.join(versions)}; the judge tells {runs[0]['judge']['accuracy']:.1%} of the validation "
        f"images; {datetime.date.today()}.",
        "",
        *score_lines(runs),
        "",
        *(f"- {model}: `{values}`" for model, values in settings.items()),
        "",
        *([*time_lines(times[-1]), ""] if times else []),
    ]
    with atomic_path(options.output) as temporary:
        temporary.write_text("\n".join(text), encoding="utf-8")


def write_picture(options, data):
    """Write the picture: rows of test images, of MONAI's reconstructions and of ours, of the first seed."""
    names = (f"{name}_{options.seeds[0]}.npz" for name in ("MONAI", "ours"))
    rows = [shown(data), *(np.load(options.work / name)["made"] for name in names)]
    sheet = plots.as_picture(plots.grid(np.concatenate(rows), SHOWN))
    size = (sheet.width * ZOOM, sheet.height * ZOOM)
    sheet.resize(size, Image.Resampling.NEAREST).save(options.picture, quality=90)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--dataset", type=pathlib.Path, required=True, help="folder with train and test")
    parser.add_argument("--finer", action="store_true", help="let the judge learn what files' names tell")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--perceptual", choices=("same", "none"), default="same")
    parser.add_argument("--set", type=setting, nargs="*", default=[], help="NAME=VALUE of our recipe")
    parser.add_argument("--rival", type=setting, nargs="*", default=[], help="NAME=VALUE of Rival")
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder of the results")
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file to write")
    parser.add_argument("--picture", type=pathlib.Path, help="picture to write")
    parser.add_argument("--time", action="store_true", help="measure a step's processor time alone")
    parser.add_argument("--rounds", type=int, default=5, help="blocks of each side, for the time")
    parser.add_argument("--block", type=int, default=5, help="steps in a block")
    options = parser.parse_args()
    data = kvg_data.load(options.dataset)
    if options.time:
        print(*time_lines(measure_time(options, data)["time"]), sep="\n")
        return
    runs = train(options, data)
    if options.picture:
        write_picture(options, data)
    print(*score_lines(runs), sep="\n")


if __name__ == "__main__":
    main()
