"""A model that a user writes in a file of their own, with public names: it trains, saves and exports."""

import ast
import inspect
import math

import keras
import numpy as np
import registry
from keras import ops
from scipy import special, stats

import keras_vaegan as kvg
from keras_vaegan.distributions import LOG_2PI
from keras_vaegan.training import Losses


@keras.saving.register_keras_serializable("own")
class BetaTCVAE(kvg.VAE):
    """beta-TC-VAE (Chen et al. 2018, eq. 4), by minibatch-weighted sampling (appendix C.1).

    L = -log p(x|z) + MI(z; n) + tc_weight KL(q(z) || prod_j q(z_j)) + sum_j KL(q(z_j) || p(z_j))
    """

    def __init__(self, encoder, decoder, tc_weight=6.0, num_images=1000, **kwargs):
        super().__init__(encoder, decoder, **kwargs)
        self.tc_weight, self.num_images = tc_weight, num_images

    @property
    def log_names(self):
        return (*super().log_names, "total_correlation")

    def compute_losses(self, x, y=None, training=False):
        x = self.as_images(x)
        q, prior, z, (p,) = self.infer(x, {}, training)
        mean, log_variance = q.mean[None], q.log_variance[None]  # of every image, for each code z
        log_q = -0.5 * (ops.square(z[:, None] - mean) * ops.exp(-log_variance) + log_variance + LOG_2PI)
        log_count = ops.log(ops.cast(self.num_images * ops.shape(x)[0], "float32"))
        log_q_z = ops.logsumexp(ops.sum(log_q, axis=-1), axis=1) - log_count
        log_q_each = ops.sum(ops.logsumexp(log_q, axis=1) - log_count, axis=-1)

        reconstruction = -p.log_prob(x)
        mutual_information = q.log_prob(z) - log_q_z
        total_correlation = log_q_z - log_q_each
        dimensions = log_q_each - prior.log_prob(z)
        loss = reconstruction + mutual_information + self.tc_weight * total_correlation + dimensions
        logs = self.elbo(prior.kl(q), reconstruction) | {"total_correlation": total_correlation}
        return Losses({"generator": loss}, logs)

    def get_config(self):
        return super().get_config() | {"tc_weight": self.tc_weight, "num_images": self.num_images}


def build(**arguments):
    networks = registry.smooth_networks(registry.IMAGE_SHAPE, adversarial=False)
    return registry.set_weights(BetaTCVAE(*networks, seed=0, **arguments))


def test_it_is_short_and_has_no_private_name():
    source = inspect.getsource(BetaTCVAE)
    assert len(source.splitlines()) <= 60
    names = {getattr(node, "attr", "") for node in ast.walk(ast.parse(source))}
    assert not [name for name in names if name.startswith("_") and not name.startswith("__")]


def test_its_loss_is_the_papers(inject_noise):
    """By SciPy's densities, one code and one image at a time."""
    noise, x = registry.noise(), registry.images()
    inject_noise(*noise)
    model = build(tc_weight=3.0, num_images=50)
    made = model.compute_losses(ops.convert_to_tensor(x))
    q = model.posterior_parameters(x)
    scale = np.exp(q["log_variance"] / 2)
    z = q["mean"] + scale * noise[0]
    log_q = np.array([stats.norm.logpdf(one, q["mean"], scale) for one in z], "float64")  # (codes, images, Z)
    log_count = math.log(50 * len(x))
    joint = special.logsumexp(log_q.sum(axis=2), axis=1) - log_count
    each = (special.logsumexp(log_q, axis=1) - log_count).sum(axis=1)
    own = log_q[np.arange(len(x)), np.arange(len(x))].sum(axis=1)
    prior = stats.norm.logpdf(z).sum(axis=1)
    expected = own - joint + 3.0 * (joint - each) + each - prior
    found = made.players["generator"] - made.logs["reconstruction"]
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-4, atol=1e-5)


def test_it_trains_saves_and_exports(tmp_path):
    model = build(tc_weight=3.0)
    model.compile()
    history = model.fit(registry.images(8), batch_size=4, epochs=2, verbose=0).history
    assert np.isfinite(history["total_correlation"]).all()
    model.save(tmp_path / "own.keras")
    again = keras.saving.load_model(tmp_path / "own.keras")
    assert type(again) is BetaTCVAE and again.tc_weight == 3.0
    np.testing.assert_allclose(again.generate(3, seed=1), model.generate(3, seed=1), atol=1e-6)
    model.save_to_preset(tmp_path / "preset")
    assert type(kvg.VAE.from_preset(tmp_path / "preset")) is BetaTCVAE
    exported = tmp_path / "generate.tflite"
    imports = () if keras.backend.backend() == "tensorflow" else (__name__,)
    model.export(exported, "litert", signature="generate", imports=imports, verbose=False)
    assert exported.stat().st_size > 1000
