"""The same model in float32 and in bfloat16: what it costs in nats.

    python examples/half_precision.py --output half/ [--quick]

Processors without bfloat16 compute it slowly; the gain is on accelerators.
"""

import keras
import numpy as np
from common import parsed, recipe

from keras_vaegan import plots, presets


def main():
    """Train in both precisions and compare bounds and pictures."""
    options, data = parsed(__doc__)
    chosen = recipe("vae", options)
    sheets = []
    for policy in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        model = presets.build(chosen, data.image_shape, seed=options.seed)
        model.fit(data.train[0], epochs=chosen["training"]["epochs"], batch_size=64, verbose=0)
        scores = model.evaluate(data.test[0], verbose=0, return_dict=True)
        print(f"{policy}: negative bound {scores['loss']:.2f} nats, KL {scores['kl']:.2f}")
        sheets.append(model.generate(40, seed=0))
    keras.config.set_dtype_policy("float32")
    plots.save_grid(np.concatenate(sheets), options.output / "precisions.png", columns=20)
    print(f"look at {options.output / 'precisions.png'}: two rows of each")


if __name__ == "__main__":
    main()
