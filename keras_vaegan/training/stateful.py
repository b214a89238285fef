"""What the backends share whose variables hold the state while a step runs."""

from typing import Any

import keras

from keras_vaegan.typing import Tensor


class StatefulSteps:
    """`test_step`, `update` and `synchronize` of a `MultiPlayerModel` on TensorFlow and PyTorch."""

    def test_step(self: Any, data: Any) -> dict[str, Tensor]:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.track(self.compute_losses(x, y, training=False))
        return self.get_metrics_result()

    def update(self: Any, gradients: list[Tensor], variables: list[keras.Variable]) -> None:
        """Let the optimizer change the variables."""
        self.optimizer.apply(gradients, variables)

    def replica_mean(self, value: Tensor) -> Tensor:
        """Mean of a tensor over the devices that share a batch; here there is one."""
        return value

    def synchronize(self) -> None:
        """Make the variables hold the state of the running `fit`: they always do here."""
