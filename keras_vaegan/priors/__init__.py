"""Priors p(z|c) over latent codes, on tensors.

A model has one prior. `given(condition)` is p(z|c) for a batch, with these methods:

- `kl(q)`: KL(q || p) of each latent dimension, `(B, ..., Z)` in nats, as the ELBO has it in training;
- `sample(count, seed)`: latent codes `(count, ..., Z)`;
- `place(noise)`: the codes that standard normal noise `(B, ..., Z)` becomes;
- `noise_of(z)`: the noise that becomes the codes z, if the prior has an inverse;
- `log_prob(z)`: log p(z|c), `(B,)` in nats, if the prior has a density.

A prior that looks back (`LookBack`) is known step by step, as DRAW's decoder goes.
`Mixture` and `Flow` are fitted to latent codes when the rest of the model is trained.
"""

from keras_vaegan.priors.base import Fitted, Prior, PriorOfBatch, Unit
from keras_vaegan.priors.draws import Drawn, Draws
from keras_vaegan.priors.flow import Flow
from keras_vaegan.priors.mixture import Mixture
from keras_vaegan.priors.normal import Conditional, LookBack, Normal, StandardNormal

PRIORS: dict[str, type[Prior]] = {
    "standard_normal": StandardNormal,
    "look_back": LookBack,
    "mixture": Mixture,
    "flow": Flow,
}

__all__ = [
    "PRIORS",
    "Conditional",
    "Drawn",
    "Draws",
    "Fitted",
    "Flow",
    "LookBack",
    "Mixture",
    "Normal",
    "Prior",
    "PriorOfBatch",
    "StandardNormal",
    "Unit",
]
