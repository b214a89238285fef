"""A training that is cut short within an epoch and goes on: the weights are those of one that was not.

python examples/resume.py --output cut/ [--quick]
"""

import keras
import numpy as np
from common import parsed, recipe

import keras_vaegan as kvg
from keras_vaegan import callbacks, presets, training


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
    training.be_deterministic()

    def run(folder, cut=None):
        """Train into a folder, from its newest checkpoint if it has one."""
        keras.utils.set_random_seed(options.seed)
        model = presets.build(chosen, data.image_shape, seed=options.seed)
        batches = kvg.data.Batches(data.train[0], batch_size=64, seed=options.seed)
        checkpoints = callbacks.Checkpoints(folder, every=5)
        first = checkpoints.resume(model, batches)
        used = [checkpoints, *([CutShort(cut)] if cut else [])]
        try:
            model.fit(batches, epochs=2, initial_epoch=first, callbacks=used, verbose=2)
        except KeyboardInterrupt:
            print(f"cut short after {cut} batches")
        return model

    whole = run(options.output / "whole")
    run(options.output / "cut", cut=len(data.train[0]) // 64 + 8)
    resumed = run(options.output / "cut")
    pairs = zip(whole.get_weights(), resumed.get_weights(), strict=True)
    print("largest difference of a weight:", max(np.abs(one - other).max() for one, other in pairs))


if __name__ == "__main__":
    main()
