"""DRAW: a VAE that draws step by step (Gregor et al. 2015), plain or conditioned on labels."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_vaegan.backend import unfold
from keras_vaegan.distributions import Bernoulli, DiagonalNormal, sum_event
from keras_vaegan.errors import InputError, flag, whole_number
from keras_vaegan.models.cvae import CVAE
from keras_vaegan.models.latent import as_seed, prior_noise
from keras_vaegan.networks.draw import DRAWCell
from keras_vaegan.typing import UNCONDITIONAL, Condition, Tensor


@keras.saving.register_keras_serializable("keras_vaegan")
class DRAW(CVAE):
    """DRAW: T times it looks at the image and at what is missing, and adds to a canvas.

        x^_t = x - sigmoid(c_{t-1});  r_t = read(x, x^_t, h^dec_{t-1})
        h^enc_t = LSTM(h^enc_{t-1}, [r_t, h^dec_{t-1}]);  z_t ~ q(z_t|h^enc_t)
        h^dec_t = LSTM(h^dec_{t-1}, z_t);  c_t = c_{t-1} + write(h^dec_t)
        L = sum_t KL(q(z_t|h^enc_t) || N(0, I)) - log p(x|sigmoid(c_T))

    (eq. 3 to 12.) Codes of an image are `(T, Z)`. What is given as q(z|x) on arrays is along the path on
    which every z_t is the mean: the later ones depend on the earlier.

    Args:
        encoder, decoder: functional models of one step, as `keras_vaegan.networks.draw` gives them.
        steps: T.
        **kwargs: the other arguments of `VAE`.

    Logs: those of `VAE`.

    Raises:
        InputError: T below 1, networks that are not one step of DRAW or do not fit each other, a condition
            other than labels, a prior network; as of `VAE`.

    Examples:
        >>> import keras_vaegan as kvg
        >>> model = kvg.DRAW.from_preset("draw_mnist")
        >>> steps = model.canvases(2, seed=0)
        >>> steps["canvases"].shape, steps["centres"].shape
        ((2, 16, 28, 28, 1), (2, 16, 2))
    """

    own_inputs = ("codes", "h", "c")
    step_inputs = ("images", "errors", "seen_by", "h", "c")  # what the encoder takes beside the condition

    def __init__(self, encoder: keras.Model, decoder: keras.Model, steps: int = 10, **kwargs: Any) -> None:
        self.steps = whole_number("steps", steps, 1)
        super().__init__(encoder, decoder, **kwargs)
        self.cell = DRAWCell(encoder, decoder, name="cell")
        self.inference = Inference(self.cell, self.steps, name="inference")
        self.drawing = Drawing(self.cell, self.steps, name="drawing")

    @property
    def code_shape(self) -> tuple[int, ...]:
        """`(T, Z)`."""
        return (self.steps, self.latent_dim)

    def player_networks(self) -> dict[str, list[Any]]:
        cell = self.cell
        return {"generator": [cell.encoder, cell.first_looking, cell.decoder, cell.first_drawing]}

    # ---- p and q ----

    def posterior(
        self, x: Tensor, condition: Condition = UNCONDITIONAL, training: bool = False
    ) -> DiagonalNormal:
        """q(z_t|x, z_1, ...) along the path of means: a `DiagonalNormal` `(B, T, Z)`."""
        path = self.inference({"images": x, **condition}, training=training)
        return DiagonalNormal(path["mean"], path["log_variance"])

    def likelihood(
        self, z: Tensor, condition: Condition = UNCONDITIONAL, training: bool = False
    ) -> Bernoulli | DiagonalNormal:
        """p(x|z) of codes `(B, T, Z)`: a distribution over images `(B, H, W, C)`."""
        return self.observed(self.drawing({"codes": z, **condition}, training=training)["logits"])

    def infer(
        self, x: Tensor, condition: Condition, training: bool
    ) -> tuple[Tensor, Tensor, Bernoulli | DiagonalNormal]:
        kl, weighted_kl, path = self.inferred(x, condition, training)
        return kl, weighted_kl, self.observed(path["logits"])

    def inferred(
        self, x: Tensor, condition: Condition, training: bool
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The KL `(B,)`, the same as it is descended, and what `Inference` gives for a draw of the codes."""
        noise = self.prior_sample(ops.shape(x)[0])
        path = self.inference({"images": x, "noise": noise, **condition}, training=training)
        kl = DiagonalNormal(path["mean"], path["log_variance"]).kl_per_dimension()
        return sum_event(kl), self.weighted_kl(kl, training), path

    # ---- on arrays ----

    def encode(
        self,
        x: ArrayLike,
        labels: ArrayLike | None = None,
        mask: str | ArrayLike | None = None,
        sample: bool = False,
        seed: int | None = None,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Codes `(B, T, Z)` of images; see every model's `encode`."""
        seed = as_seed(seed)
        if not flag("sample", sample):
            return super().encode(x, labels, mask, seed=seed, batch_size=batch_size)
        x = self._array(x)
        noise = prior_noise(len(x), self.code_shape, as_seed(seed))
        inputs = {"images": x, "noise": noise, **self.condition(len(x), labels, x, mask)}
        return self._in_batches(self.inference, inputs, batch_size)["codes"]

    def canvases(
        self,
        num_images: int = 16,
        labels: ArrayLike | None = None,
        images: ArrayLike | None = None,
        seed: int | None = None,
        batch_size: int = 128,
    ) -> dict[str, np.ndarray]:
        """How images come about, step by step: samples from the prior, or reconstructions.

        Args:
            num_images: how many samples.
            labels: classes, for a model that is conditioned on them: for samples as in `generate`, of
                `images` one each.
            images: `(B, H, W, C)`, to be reconstructed in place of samples.
            seed: of the samples.
            batch_size: images drawn at a time.

        Returns:
            `canvases` `(B, T, H, W, C)` in [0, 1], the mean image at each step; `centres` `(B, T, 2)`, height
            first, and `sizes` `(B, T)` of the glimpses that are drawn in, in pixels. All float32.

        Raises:
            InputError: no image asked for; images or labels that will not do.
        """
        if images is None:
            count = whole_number("num_images", num_images, 1)
            condition = self.condition(count, self.labels_in_turn(count, labels))
            codes = prior_noise(count, self.code_shape, as_seed(seed))
        else:
            images = self._array(images, "images")
            condition = self.condition(len(images), labels)
            codes = self._encoded(images, condition, batch_size)["mean"]
        made = self._in_batches(self.drawing, {"codes": codes, **condition}, batch_size)
        canvases = ops.convert_to_numpy(self.observed(made["canvases"]).mean)
        return {"canvases": canvases, "centres": made["centre"], "sizes": made["size"]}

    def _encoded(self, x: np.ndarray, condition: Condition, batch_size: int) -> dict[str, np.ndarray]:
        path = self._in_batches(self.inference, {"images": x, **condition}, batch_size)
        return {"mean": path["mean"], "log_variance": path["log_variance"]}

    def _logits(self, z: np.ndarray, condition: Condition, batch_size: int) -> np.ndarray:
        return self._in_batches(self.drawing, {"codes": z, **condition}, batch_size)["logits"]

    @property
    def noise_dim(self) -> int:
        return self.steps * self.latent_dim

    def proposals(
        self, x: np.ndarray, condition: Condition, batch_size: int
    ) -> dict[str, dict[str, np.ndarray]]:
        return {}  # q(z_t) depends on the draws before: it is known with them

    def log_weights(
        self,
        x: np.ndarray,
        condition: Condition,
        normals: Mapping[str, tuple[np.ndarray, np.ndarray]],
        noise: np.ndarray,
        batch_size: int,
    ) -> np.ndarray:
        noise = noise.reshape(-1, *self.code_shape).astype("float32")
        path = self._in_batches(self.inference, {"images": x, "noise": noise, **condition}, batch_size)
        log_p = ops.convert_to_numpy(self.observed(path["logits"]).log_prob(x)).astype("float64")
        # log N(z; 0, I) - log q(z): the constants cancel.
        z, log_variance = path["codes"].astype("float64"), path["log_variance"].astype("float64")
        return log_p + 0.5 * (noise.astype("float64") ** 2 + log_variance - z**2).sum(axis=(1, 2))

    # ---- configuration ----

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["prior"], config["masks"]
        return config | {"steps": self.steps}

    def _check_networks(self) -> None:
        for name, network, wanted in (
            ("encoder", self.encoder, self.step_inputs),
            ("decoder", self.decoder, self.own_inputs),
        ):
            inputs = network.input
            if not isinstance(inputs, dict) or not set(wanted) <= set(inputs):
                raise InputError(
                    f"{name} must be one step of DRAW and take {', '.join(sorted(wanted))}, as "
                    "`keras_vaegan.networks.draw` makes it."
                )
        pairs = {
            "the decoder's state": (self.encoder.input["seen_by"], self.decoder.input["h"]),
            "the code": (self.encoder.output["mean"], self.decoder.input["codes"]),
            "the image": (self.encoder.input["images"], self.decoder.output["drawn"]),
        }
        for what, (one, other) in pairs.items():
            if tuple(one.shape) != tuple(other.shape):
                raise InputError(
                    f"encoder and decoder must agree on {what}; "
                    f"received {one.shape[1:]} and {other.shape[1:]}."
                )

    def _check_condition(self) -> None:
        if self.prior_network is not None:
            raise InputError("prior must be None: DRAW's is N(0, I) at every step.")
        of_encoder = {
            name: tensor for name, tensor in self.encoder.input.items() if name not in self.step_inputs
        }
        shapes = [
            {name: tuple(tensor.shape) for name, tensor in inputs.items()}
            for inputs in (of_encoder, self._condition_inputs)
        ]
        if shapes[0] != shapes[1] or not set(shapes[0]) <= {"labels"}:
            raise InputError(
                "encoder and decoder must be conditioned on the same labels, or on nothing; "
                f"received {shapes[0] or 'nothing'} and {shapes[1] or 'nothing'}."
            )


class _Unfolded(keras.Model):
    """A cell taken through its steps, as a model that predicts."""

    def __init__(self, cell: DRAWCell, steps: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cell, self.steps = cell, steps
        self.built = True


class Inference(_Unfolded):
    """Images, and noise, to what DRAW infers of them."""

    def call(self, inputs: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """Dictionary of `images` `(B, H, W, C)`, `noise` `(B, T, Z)` (or none, for means), and `labels`.

        Returns:
            `mean`, `log_variance` and `codes`, where the draws came to lie, `(B, T, Z)`; `logits` of the last
            canvas `(B, H, W, C)`, and `canvases` `(B, T, H, W, C)` in logits.
        """
        condition = dict(inputs)
        x, noise = ops.cast(condition.pop("images"), "float32"), condition.pop("noise", None)

        def step(state: Any, given: Any) -> Any:
            state, q = self.cell.look(state, x, condition, training)
            z = q.place(given["noise"]) if given else q.mean
            state, _ = self.cell.draw(state, z, condition, training)
            made = {"mean": q.mean, "log_variance": q.log_variance, "codes": z, "canvases": state["canvas"]}
            return state, made

        given = {} if noise is None else {"noise": ops.swapaxes(noise, 0, 1)}
        state, path = unfold(step, self.cell.start(ops.shape(x)[0]), given, self.steps)
        return {"logits": state["canvas"], **{name: ops.swapaxes(of, 0, 1) for name, of in path.items()}}


class Drawing(_Unfolded):
    """Codes to what DRAW draws by them."""

    def call(self, inputs: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """Dictionary of `codes` `(B, T, Z)` and `labels`.

        Returns:
            `logits` of the last canvas `(B, H, W, C)`, `canvases` `(B, T, H, W, C)` in logits, and `centre`
            `(B, T, 2)` and `size` `(B, T)` of the glimpses.
        """
        condition = dict(inputs)
        codes = ops.cast(condition.pop("codes"), "float32")

        def step(state: Any, given: Any) -> Any:
            state, where = self.cell.draw(state, given["codes"], condition, training)
            return state, {"canvases": state["canvas"], **where}

        start = self.cell.start(ops.shape(codes)[0])
        state, made = unfold(step, start, {"codes": ops.swapaxes(codes, 0, 1)}, self.steps)
        return {"logits": state["canvas"], **{name: ops.swapaxes(of, 0, 1) for name, of in made.items()}}
