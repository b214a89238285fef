"""What every network of a model must be like, whoever built it."""

import keras

from keras_vaegan.backend import layers_of
from keras_vaegan.errors import InputError


def check_floatx() -> None:
    """Raise `InputError` unless Keras' numbers are float32, which losses and distributions here are."""
    if keras.config.floatx() != "float32":
        raise InputError(
            f"Keras' floatx must be 'float32'; received {keras.config.floatx()!r}. For half precision use "
            "keras.config.set_dtype_policy('mixed_float16') or 'mixed_bfloat16'."
        )


def check_channels(argument: str, network: keras.Layer) -> None:
    """Raise `InputError` where a layer takes channels first.

    Args:
        argument: what the network is called.
        network: a layer or a model, with all that is in it.
    """
    for layer in layers_of(network):
        # A Flatten of channels that come first only orders its outputs otherwise.
        if getattr(layer, "data_format", None) == "channels_first" and not isinstance(
            layer, keras.layers.Flatten
        ):
            raise InputError(
                f"{argument} must take images (B, H, W, C); its layer {layer.name!r} has the data_format "
                "'channels_first'. Build it with data_format='channels_last', or after "
                "keras.config.set_image_data_format('channels_last')."
            )


def check_weights(argument: str, network: keras.Layer) -> None:
    """Raise `InputError` where weights are kept in another type than float32; arguments as above."""
    for variable in network.weights:
        kind = keras.backend.standardize_dtype(variable.dtype)
        if "float" in kind and kind != "float32":
            raise InputError(
                f"{argument} must keep its weights in float32; those of {variable.path!r} are {kind}. For "
                "half precision build it under the dtype policy 'mixed_float16' or 'mixed_bfloat16'."
            )
