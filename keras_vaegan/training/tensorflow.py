"""The training and test steps on TensorFlow: one persistent tape, one gradient per player."""

import keras
import tensorflow as tf


class Steps:
    """`train_step` and `test_step` of a `MultiPlayerModel` on TensorFlow."""

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        # tf.distribute sums gradients over its replicas.
        share = 1.0 / tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape(persistent=True) as tape:
            losses = self.compute_losses(x, y, training=True)
            objectives = {
                player: self.optimizer.scale_loss(self.objective(loss, sample_weight) * share)
                for player, loss in losses.players.items()
            }
        gradients = {
            player: tape.gradient(
                objectives[player], variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            for player, variables in self.player_variables().items()
        }
        del tape
        self.apply_gradients(gradients, losses.active)
        self.track(losses)
        return self.get_metrics_result()

    def test_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.track(self.compute_losses(x, y, training=False))
        return self.get_metrics_result()

    def synchronize(self):
        """Make the variables hold the state of the running `fit`: they always do here."""


def input_gradient(function, x):
    """Gradient of a scalar function with respect to its input, differentiable again.

    Args:
        function: `x` -> `(value, auxiliary)`, `value` of any shape; its sum is differentiated.
        x: a tensor.

    Returns:
        `(gradient, auxiliary)`, the gradient of the shape of `x`.
    """
    with tf.GradientTape() as tape:
        tape.watch(x)
        value, auxiliary = function(x)
        total = tf.reduce_sum(value)
    return tape.gradient(total, x), auxiliary
