"""DRAW: a VAE that draws step by step (Gregor et al. 2015), plain or conditioned on labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_vaegan.backend import unfold
from keras_vaegan.conditions import inputs_of
from keras_vaegan.data.stored import is_stored
from keras_vaegan.distributions import DiagonalNormal
from keras_vaegan.errors import InputError, flag, whole_number
from keras_vaegan.functions import Function, Port, image_port
from keras_vaegan.models.intake import by_parts
from keras_vaegan.models.vae import VAE
from keras_vaegan.networks.draw import DRAWCell
from keras_vaegan.noise import as_seed, prior_noise
from keras_vaegan.priors import Drawn, Draws, LookBack, Normal
from keras_vaegan.registry import register
from keras_vaegan.typing import UNCONDITIONAL, Condition, Tensor

NUM_DRAWS = 4  # of the codes of each image, to which a prior is fitted
CLIPNORM = 10.0  # global norm of the gradients through all steps, which may explode (Gregor et al. 2015)


@register("draw", "conditional_draw")
@keras.saving.register_keras_serializable("keras_vaegan")
class DRAW(VAE):
    """DRAW: T times it looks at the image and at what is missing, and adds to a canvas.

        x^_t = x - sigmoid(c_{t-1});  r_t = read(x, x^_t, h^dec_{t-1})
        h^enc_t = LSTM(h^enc_{t-1}, [r_t, h^dec_{t-1}]);  z_t ~ q(z_t|h^enc_t)
        h^dec_t = LSTM(h^dec_{t-1}, z_t);  c_t = c_{t-1} + write(h^dec_t)
        L = sum_t KL(q(z_t|h^enc_t) || p(z_t)) - log p(x|sigmoid(c_T))

    (eq. 3 to 12.) p(z_t) is N(0, I), or p(z_t|h^dec_{t-1}) of a prior that looks back (Gregor et al. 2016):
    then codes of samples lie where those of images do. Codes of an image are `(T, Z)`. What is given as
    q(z|x) on arrays is along the path on which every z_t is the mean: the later ones depend on the earlier.

    Args:
        encoder, decoder: functional models of one step, as `keras_vaegan.networks.draw` gives them.
        steps: T.
        prior: `standard_normal`, which is N(0, I) at every step; `look_back` (`priors.LookBack`); `flow`; or
            `mixture`, for codes of all steps together of a few dozen numbers.
        **kwargs: the other arguments of `VAE`.

    Logs: those of `VAE`.

    Raises:
        InputError: T below 1, networks that are not one step of DRAW or do not fit each other, a condition
            other than labels, another prior; as of `VAE`.

    Examples:
        >>> import keras_vaegan as kvg
        >>> model = kvg.DRAW.from_preset("draw_mnist")
        >>> steps = model.canvases(2, seed=0)
        >>> steps["canvases"].shape, steps["centres"].shape
        ((2, 16, 28, 28, 1), (2, 16, 2))
    """

    in_batches = (*VAE.in_batches, "inferred", "drawn")
    takes = ("labels",)
    own_inputs = ("codes", "h", "c")
    step_inputs = ("images", "errors", "seen_by", "h", "c")  # what the encoder takes beside the condition

    def __init__(self, encoder: keras.Model, decoder: keras.Model, steps: int = 10, **kwargs: Any) -> None:
        self.steps = whole_number("steps", steps, 1)
        super().__init__(encoder, decoder, **kwargs)
        self.cell = DRAWCell(encoder, decoder, name="cell")
        back = self.prior if isinstance(self.prior, LookBack) else None
        self.inference = Inference(self.cell, back, self.steps, name="inference")
        self.drawing = Drawing(self.cell, back, self.steps, name="drawing")

    @property
    def code_shape(self) -> tuple[int, ...]:
        """`(T, Z)`."""
        return (self.steps, self.latent_dim)

    def default_optimizers(self) -> dict[str, keras.optimizers.Optimizer]:
        return {"generator": keras.optimizers.Adam(1e-3, global_clipnorm=CLIPNORM)}

    def coding_networks(self) -> list[Any]:
        cell = self.cell
        return [cell.encoder, cell.first_looking, cell.decoder, cell.first_drawing]

    def seen_by_prior(self) -> dict[str, Any]:
        return {"state": self.decoder.input["h"], **super().seen_by_prior()}

    # ---- p and q ----

    def posterior(
        self, x: Tensor, condition: Condition = UNCONDITIONAL, training: bool = False
    ) -> DiagonalNormal:
        """q(z_t|x, z_1, ...) along the path of means: a `DiagonalNormal` `(B, T, Z)`."""
        path = self.inference({"images": x, **condition}, training=training)
        return DiagonalNormal(path["mean"], path["log_variance"])

    def likelihood(self, z: Tensor, condition: Condition = UNCONDITIONAL, training: bool = False) -> Any:
        """p(x|z) of codes `(B, T, Z)`: a distribution over images `(B, H, W, C)`."""
        return self.paint(z, condition, training)[-1]

    def infer(
        self, x: Tensor, condition: Condition, training: bool
    ) -> tuple[DiagonalNormal, Any, Tensor, list[Any]]:
        # q(z_t) depends on earlier draws, so nothing can be precomputed.
        shape = (ops.shape(x)[0], *self.code_shape)
        noise = keras.random.normal(shape, dtype="float32", seed=self.seed_generator)
        path = self.inference({"images": x, "noise": noise, **condition}, training=training)
        return *self.along(path, condition, training), path["codes"], self.finished_steps(path)

    def explained(self, x: Tensor, condition: Condition) -> tuple[DiagonalNormal, Any]:
        return self.along(self.inference({"images": x, **condition}), condition)

    def along(
        self, path: Mapping[str, Tensor], condition: Condition, training: bool = False
    ) -> tuple[DiagonalNormal, Any]:
        """q(z_t|x, z_1, ...) and p(z_t|z_1, ...) along what `inference` gives."""
        q, p = DiagonalNormal(path["mean"], path["log_variance"]), self.prior
        if not p.looks_back:
            return q, p.given(condition, training)
        return q, Normal(DiagonalNormal(path["prior_mean"], path["prior_log_variance"]), self.code_shape)

    def paint(self, z: Tensor, condition: Condition, training: bool) -> list[Any]:
        return self.finished_steps(self.drawing({"codes": z, **condition}, training=training))

    def imagine(self, noise: Tensor, condition: Condition, training: bool) -> list[Any]:
        made = self.placed({"noise": noise, **condition}, training)
        return self.finished_steps(self.drawing(made, training=training))

    def generated(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.observation(self.drawing(self.placed(inputs))["logits"]).mean

    def placed(self, inputs: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """What `drawing` takes: `codes` in place of `noise`, unless the prior needs the decoder's states."""
        inputs = dict(inputs)
        if "noise" in inputs and not self.prior.looks_back:
            noise = inputs.pop("noise")
            inputs["codes"] = self.prior.given(inputs, training).place(noise)
        return inputs

    def noise_of_codes(self, inputs: Mapping[str, Tensor]) -> Tensor:
        if not self.prior.looks_back:
            return super().noise_of_codes(inputs)
        return self.drawing(dict(inputs))["noise"]

    def draws(
        self, x: ArrayLike, labels: ArrayLike | None, seed: int, batch_size: int, several: bool = True
    ) -> Draws | Drawn:
        # Each image has several paths, and the normal distribution of a step is that of one path.
        draws = (
            self.encode(x, labels, sample=True, seed=seed + i, batch_size=batch_size)
            for i in range(NUM_DRAWS if several else 1)
        )
        return Drawn(list(draws))

    def finished_steps(self, made: Mapping[str, Tensor]) -> list[Any]:
        """p(x|z) of the canvases that count as images: here the last."""
        return [self.observation(made["logits"])]

    def functions(self, image_size: int | Sequence[int] | None = None) -> dict[str, Function]:
        found, steps = super().functions(image_size), (self.steps,)

        def canvases(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return self.drawn({"noise": inputs["noise"], **self.condition.of_ports(inputs)})

        outputs = {
            "canvases": image_port((*steps, *self.image_shape)),
            "centres": Port((*steps, 2), "float32", "of the glimpses, in pixels, height first"),
            "sizes": Port(steps, "float32", "of the glimpses, in pixels"),
        }
        summary = "How images from the prior come about, step by step."
        return found | {"canvases": Function(summary, found["generate"].inputs, outputs, canvases)}

    def inferred(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """A draw of the codes `(B, T, Z)` of `images`, made of `noise` `(B, T, Z)`."""
        return self.inference(dict(inputs))["codes"]

    def drawn(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What `canvases` gives, of `codes` `(B, T, Z)`, or of `noise` of which the prior makes codes."""
        made = self.drawing(self.placed(inputs))
        canvases = self.observation(made["canvases"]).mean
        return {"canvases": canvases, "centres": made["centre"], "sizes": made["size"]}

    def proposals(self, x: np.ndarray, condition: Condition, batch_size: int) -> dict[str, np.ndarray]:
        return {}  # q(z_t) depends on earlier draws, so nothing can be precomputed

    def log_weights(self, inputs: Mapping[str, Tensor]) -> Tensor:
        x = inputs["images"]
        noise = ops.reshape(inputs["noise"], (-1, *self.code_shape))
        path = self.inference({**inputs, "noise": noise})
        condition = {"labels": inputs["labels"]} if "labels" in inputs else {}
        q, prior = self.along(path, condition, training=not self.prior.has_density)
        log_joint = self.observation(path["logits"]).log_prob(x) + prior.log_prob(path["codes"])
        return log_joint - q.log_prob(path["codes"])

    # ---- on arrays ----

    def encode(
        self,
        x: ArrayLike,
        labels: ArrayLike | None = None,
        mask: str | ArrayLike | None = None,
        sample: bool = False,
        seed: int | None = None,
        batch_size: int = 128,
        tile: int | None = None,
        scaled: bool = False,
        start: int = 0,
    ) -> np.ndarray:
        """Codes `(B, T, Z)` of images; see every model's `encode`."""
        seed, start = as_seed(seed), whole_number("start", start, 0)
        if not flag("sample", sample) or tile is not None or scaled:  # which are refused
            return super().encode(x, labels, mask, False, seed, batch_size, tile, scaled)
        images: Any = x if is_stored(x) else self.intake.images(x)
        noise = prior_noise(len(images), self.code_shape, seed, start)
        return self._encoded_with(images, labels, mask, noise, batch_size)

    @by_parts
    def _encoded_with(
        self,
        x: ArrayLike,
        labels: ArrayLike | None,
        mask: str | ArrayLike | None,
        noise: np.ndarray,
        batch_size: int,
    ) -> np.ndarray:
        """Codes of images, drawn with noise `(B, T, Z)`."""
        x = self.intake.images(x)
        inputs = {"images": x, "noise": noise, **self.conditioned(len(x), labels, x, mask)}
        return self.batched("inferred", inputs, batch_size)

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
            condition = self.conditioned(count, self.labels_in_turn(count, labels))
            made = {"noise": prior_noise(count, self.code_shape, as_seed(seed))}
        else:
            images = self.intake.images(images, "images")
            condition = self.conditioned(len(images), labels)
            made = {"codes": self.batched("encoded", {"images": images, **condition}, batch_size)["mean"]}
        return self.batched("drawn", {**made, **condition}, batch_size)

    # ---- configuration ----

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"steps": self.steps}

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

    def _check_condition(self, inputs: Mapping[str, Tensor]) -> None:
        of_encoder = inputs_of(self.encoder, self.step_inputs)
        shapes = [{name: tuple(of.shape) for name, of in every.items()} for every in (of_encoder, inputs)]
        if shapes[0] != shapes[1] or not set(shapes[0]) <= {"labels"}:
            raise InputError(
                "encoder and decoder must be conditioned on the same labels, or on nothing; "
                f"received {shapes[0] or 'nothing'} and {shapes[1] or 'nothing'}."
            )

    def _check_encoder(self) -> None:
        """`_check_condition` has done it."""


class _Unfolded(keras.Model):
    """A cell taken through its steps, as a model that predicts."""

    def __init__(self, cell: DRAWCell, prior: LookBack | None, steps: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cell, self.prior, self.steps = cell, prior, steps
        self.built = True


class Inference(_Unfolded):
    """Images, and noise, to what DRAW infers of them."""

    def call(self, inputs: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """Dictionary of `images` `(B, H, W, C)`, `noise` `(B, T, Z)` (or none, for means), and `labels`.

        Returns:
            `mean`, `log_variance` and `codes`, where the draws came to lie, `(B, T, Z)`; `logits` of the last
            canvas `(B, H, W, C)`, and `canvases` `(B, T, H, W, C)` in logits; for a prior that looks back
            `prior_mean` and `prior_log_variance` of p(z_t), `(B, T, Z)`.
        """
        condition = dict(inputs)
        x, noise = ops.cast(condition.pop("images"), "float32"), condition.pop("noise", None)

        def step(state: Any, given: Any) -> Any:
            p = None if self.prior is None else self.prior.at(state["h"], condition, training)
            state, q = self.cell.look(state, x, condition, training)
            z = q.place(given["noise"]) if given else q.mean
            state, _ = self.cell.draw(state, z, condition, training)
            made = {"mean": q.mean, "log_variance": q.log_variance, "codes": z, "canvases": state["canvas"]}
            if p is not None:
                made |= {"prior_mean": p.mean, "prior_log_variance": p.log_variance}
            return state, made

        given = {} if noise is None else {"noise": ops.swapaxes(noise, 0, 1)}
        state, path = unfold(step, self.cell.start(ops.shape(x)[0]), given, self.steps)
        return {"logits": state["canvas"], **{name: ops.swapaxes(of, 0, 1) for name, of in path.items()}}


class Drawing(_Unfolded):
    """Codes, or noise of which a prior that looks back makes codes, to what DRAW draws by them."""

    def call(self, inputs: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """Dictionary of `codes` or standard normal `noise` `(B, T, Z)`, and `labels`.

        Returns:
            `logits` of the last canvas `(B, H, W, C)`, `canvases` `(B, T, H, W, C)` in logits, and `centre`
            `(B, T, 2)` and `size` `(B, T)` of the glimpses; for a prior that looks back, the `noise` of the
            codes.
        """
        condition = dict(inputs)
        noisy = "noise" in condition
        given = ops.cast(condition.pop("noise" if noisy else "codes"), "float32")

        def step(state: Any, given: Any) -> Any:
            z, of_prior = given["codes"], {}
            if self.prior is not None:
                p = self.prior.at(state["h"], condition, training)
                of_prior["noise"] = z if noisy else Normal(p, ()).noise_of(z)
                z = p.place(z) if noisy else z
            state, where = self.cell.draw(state, z, condition, training)
            return state, {"canvases": state["canvas"], **where, **of_prior}

        start = self.cell.start(ops.shape(given)[0])
        state, made = unfold(step, start, {"codes": ops.swapaxes(given, 0, 1)}, self.steps)
        return {"logits": state["canvas"], **{name: ops.swapaxes(of, 0, 1) for name, of in made.items()}}
