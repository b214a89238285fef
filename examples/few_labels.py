"""Classes from few labels: M2 with a GAN, which of its three classifiers to believe, and how much.

    python examples/few_labels.py --output few/ [--quick] [--num-labels 1000]

prints the error on test images of q(y|x), of the discriminator, and of both together; the calibration error
before and after a temperature is fitted to validation images; and writes the images that were told wrongly.
"""

import numpy as np
from common import parsed, recipe

import keras_vaegan as kvg
from keras_vaegan import plots, presets
from keras_vaegan.metrics import expected_calibration_error

NUM_LABELS, QUICK_LABELS = 1000, 100


def main():
    """Train with few labels and tell classes."""
    options, data = parsed(__doc__, more={"--num-labels": {"type": int}})
    (x, y), (x_val, y_val), (x_test, y_test) = data
    count = options.num_labels or (QUICK_LABELS if options.quick else NUM_LABELS)
    x, few = kvg.data.semi_supervised_split(x, y, count, seed=options.seed)
    print(f"{(few >= 0).sum()} of {len(x)} images have a label, as many of each class")

    chosen = recipe("ssl_vae_gan", options)
    training = chosen["training"]
    model = presets.build(chosen, data.image_shape, seed=options.seed, num_classes=data.num_classes)
    model.fit(
        x,
        few,
        epochs=training["epochs"],
        batch_size=training["batch_size"],
        labelled_share=training["labelled_share"],
        verbose=2,
    )
    for classifier in model.classifiers:
        told = model.class_logits(x_test, classifier=classifier).argmax(axis=1)
        print(f"{classifier}: {100 * np.mean(told != y_test):.2f} % wrong")
    before = expected_calibration_error(model.classify(x_test), y_test)
    temperature = model.calibrate(x_val, y_val)
    sure = model.classify(x_test)
    after = expected_calibration_error(sure, y_test)
    print(f"calibration error {before:.4f}, {after:.4f} at temperature {temperature:.2f}")

    wrong = np.flatnonzero(sure.argmax(axis=1) != y_test)
    wrong = wrong[np.argsort(-sure[wrong].max(axis=1))][:64]  # the surest first
    if len(wrong):
        plots.save_grid(x_test[wrong], options.output / "wrong.png")
        print(f"look at {options.output / 'wrong.png'}: told wrongly, the surest first")


if __name__ == "__main__":
    main()
