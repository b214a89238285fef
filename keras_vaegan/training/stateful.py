"""What the backends share whose variables hold the state while a step runs."""

import keras


class StatefulSteps:
    """`test_step`, `update` and `synchronize` of a `MultiPlayerModel` on TensorFlow and PyTorch."""

    def test_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.track(self.compute_losses(x, y, training=False))
        return self.get_metrics_result()

    def update(self, gradients, variables):
        """Let the optimizer change the variables."""
        self.optimizer.apply(gradients, variables)

    def synchronize(self):
        """Make the variables hold the state of the running `fit`: they always do here."""
