"""Where gradients go in the script by which diffusers trains the autoencoder of latent diffusion.

    python -m benchmarks.rivals.diffusers_gradients --images FOLDER \\
        --script CLONE/examples/research_projects/autoencoderkl/train_autoencoderkl.py

The script is that of your own clone of huggingface/diffusers. It runs unchanged, on the processor, with what
its `requirements.txt` names (but bitsandbytes, wandb and xformers) and tensorboard. It trains a small
`AutoencoderKL` from random weights, and D plays from the first step (`--disc_start 0`). At each backward pass
this module compares the gradient by which a network will move with the gradient of the loss that was just
propagated. `--random-lpips` gives LPIPS random weights of VGG, if they cannot be downloaded.
"""

import argparse
import contextlib
import functools
import importlib.metadata
import importlib.util
import pathlib
import statistics
import subprocess
import tempfile

import torch

NETWORKS = ("VAE", "D")  # in the order in which the script prepares them
EXTENSIONS = (".png", ".jpg", ".jpeg")
PACKAGES = ("torch", "diffusers", "accelerate", "lpips", "taming-transformers")


class Watch:
    """What each backward pass of the script leaves in the two networks.

    Attributes:
        passes: for each pass the network that is to move, and of it the lengths of its own loss' gradient, of
            the gradient that lay there before, and of what in this is not the other network's loss; and the
            cosine between its own loss' gradient and the sum, by which it moves.
        perceptual: whether each output of LPIPS had a gradient.
    """

    def __init__(self):
        self.networks, self.trained, self.passes, self.perceptual = {}, None, [], []
        self.last = {}

    def prepare(self, original, accelerator, *arguments, **settings):
        """`Accelerator.prepare`: the first two modules are the autoencoder and D."""
        prepared = original(accelerator, *arguments, **settings)
        modules = [part for part in prepared if isinstance(part, torch.nn.Module)]
        self.networks = dict(zip(NETWORKS, modules, strict=True))
        return prepared

    def accumulate(self, original, accelerator, *models):
        """`Accelerator.accumulate`: the network that is to move."""
        self.trained = next(name for name, network in self.networks.items() if network is models[0])
        return original(accelerator, *models)

    def backward(self, original, accelerator, loss, **settings):
        """`Accelerator.backward`, with the gradient of the loss alone taken before."""
        other = next(name for name in NETWORKS if name != self.trained)
        for name, network in self.networks.items():
            weights = list(network.parameters())
            settled = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
            own = flat(torch.autograd.grad(loss, weights, **settled))
            if name == self.trained and (name, other) in self.last:
                before = flat([torch.zeros_like(w) if w.grad is None else w.grad for w in weights])
                lengths = [float(part.norm()) for part in (own, before, before - self.last[name, other])]
                cosine = float(torch.nn.functional.cosine_similarity(own, own + before, dim=0))
                self.passes.append((name, [*lengths, cosine]))
            self.last[name, self.trained] = own
        return original(accelerator, loss, **settings)

    def init_trackers(self, original, accelerator, *arguments, **settings):
        """`Accelerator.init_trackers`, left out: TensorBoard refuses the list among the script's settings."""

    def judge(self, original, network, *arguments, **settings):
        """`LPIPS.forward`."""
        distance = original(network, *arguments, **settings)
        self.perceptual.append(distance.requires_grad)
        return distance

    @contextlib.contextmanager
    def watching(self, random_lpips):
        """Patch what the script calls, for as long as it runs."""
        import accelerate
        import lpips

        patched = [
            (accelerate.Accelerator, "prepare", self.prepare),
            (accelerate.Accelerator, "accumulate", self.accumulate),
            (accelerate.Accelerator, "backward", self.backward),
            (accelerate.Accelerator, "init_trackers", self.init_trackers),
            (lpips.LPIPS, "forward", self.judge),
        ]
        originals = [getattr(owner, name) for owner, name, _ in patched]
        for (owner, name, function), original in zip(patched, originals, strict=True):
            setattr(owner, name, functools.partialmethod(passed_on, function, original))
        made = lpips.LPIPS
        if random_lpips:
            lpips.LPIPS = functools.partial(made, pnet_rand=True)
        try:
            yield
        finally:
            lpips.LPIPS = made
            for (owner, name, _), original in zip(patched, originals, strict=True):
                setattr(owner, name, original)


def passed_on(owner, function, original, *arguments, **settings):
    """A call of a patched method, for `partialmethod`, which gives the object first."""
    return function(original, owner, *arguments, **settings)


def flat(gradients):
    """Gradients as one vector."""
    return torch.cat([gradient.detach().flatten() for gradient in gradients])


def load_script(path):
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("diffusers_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def train(script, images, steps, random_lpips):
    """Run the script for so many updates; what was watched."""
    from diffusers import AutoencoderKL

    watch = Watch()
    shown = next(path for path in sorted(images.rglob("*")) if path.suffix.lower() in EXTENSIONS)
    with tempfile.TemporaryDirectory() as folder, watch.watching(random_lpips):
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(32, 64, 64),
        ).save_config(folder)
        module = load_script(script)
        settings = {
            "model_config_name_or_path": folder,
            "train_data_dir": images,
            "output_dir": f"{folder}/run",
            "cache_dir": f"{folder}/cache",
            "resolution": 64,
            "train_batch_size": 4,
            "max_train_steps": steps,
            "disc_start": 0,
            "validation_image": shown,
            "validation_steps": 10 * steps,
            "checkpointing_steps": 10 * steps,
            "seed": 0,
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        module.main(module.parse_args(words))
    return watch


def lines_of(watch):
    """What was seen, as rows of Markdown: medians over the passes."""
    lines = [
        "| network | passes | its loss' gradient | left there before | of it not the other's loss | cosine |",
        "|---|---|---|---|---|---|",
    ]
    for name in NETWORKS:
        records = [values for moved, values in watch.passes if moved == name]
        medians = (statistics.median(column) for column in zip(*records, strict=True))
        lines.append(f"| {name} | {len(records)} | {' | '.join(f'{value:.3g}' for value in medians)} |")
    seen = "a" if any(watch.perceptual) else "no"
    return [*lines, "", f"{len(watch.perceptual)} values of LPIPS were computed with {seen} gradient."]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--script", type=pathlib.Path, required=True, help="train_autoencoderkl.py of a clone"
    )
    parser.add_argument("--images", type=pathlib.Path, required=True, help="folder of images")
    parser.add_argument("--steps", type=int, default=20, help="updates, of the VAE and of D in turn")
    parser.add_argument("--random-lpips", action="store_true", help="random VGG weights in LPIPS")
    options = parser.parse_args()
    call = ["git", "-C", options.script.parent, "rev-parse", "HEAD"]
    commit = subprocess.run(call, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    watch = train(options.script, options.images, options.steps, options.random_lpips)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    print(f"Commit {commit}; {versions}.", "", *lines_of(watch), sep="\n")


if __name__ == "__main__":
    main()
