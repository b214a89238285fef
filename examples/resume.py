"""A training that is cut short within an epoch and goes on: the weights are those of one that was not.

python examples/resume.py --output cut/ [--quick]
"""

import keras
import numpy as np
from common import parsed, recipe

from keras_vaegan import training


class CutShort(keras.callbacks.Callback):
    """End a training after some batches without a chance to tidy up, as a power cut would."""

    def __init__(self, batches):
        super().__init__()
        self.left = batches

    def on_train_batch_begin(self, batch, logs=None):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def main():
    """Train twice, once with an interruption, and compare."""
    options, data = parsed(__doc__)
    chosen = recipe("vae_gan", options, epochs=2)
    settings = {"seed": options.seed, "checkpoint_every": 5, "overwrite": True}
    cut = len(data.train[0]) // chosen["training"]["batch_size"] + 8

    whole = training.run(chosen, data, options.output / "whole", **settings)
    try:
        training.run(chosen, data, options.output / "cut", callbacks=[CutShort(cut)], **settings)
    except KeyboardInterrupt:
        print(f"cut short after {cut} batches")
    resumed = training.resume(options.output / "cut", data)
    pairs = zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True)
    print("largest difference of a weight:", max(np.abs(one - other).max() for one, other in pairs))


if __name__ == "__main__":
    main()
