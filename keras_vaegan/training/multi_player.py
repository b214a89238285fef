"""A Keras model trained by several players, each descending its own loss from one forward pass."""

import functools
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import keras
from keras import ops

from keras_vaegan.errors import InputError, choose
from keras_vaegan.training import Steps
from keras_vaegan.training.watch import Watch, step_tensors
from keras_vaegan.typing import Tensor


class Losses(NamedTuple):
    """What `compute_losses` gives for one batch.

    Attributes:
        players: `{player: (B,)}`, each player's loss per example.
        logs: `{log name: (B,)}`, the values whose epoch means are reported.
        active: `{player: scalar}`, true where that player moves in this step; a player that is
            not named always moves.
        weights: `{log name: (B,)}`, how much each example counts in that mean, where not all do alike.
    """

    players: dict[str, Tensor]
    logs: dict[str, Tensor]
    active: dict[str, Tensor] = {}
    weights: dict[str, Tensor] = {}


class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Keras' loss scaling, through which learning-rate callbacks find the players' optimizers."""

    def __getattr__(self, name: str) -> Any:
        if name == "optimizers" and isinstance(self.inner_optimizer, keras.optimizers.MultiOptimizer):
            return self.inner_optimizer.optimizers
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class MultiPlayerModel(Steps, keras.Model):
    """A model whose training step lets each player descend its own loss, under stock `fit`.

    A subclass gives `player_networks`, `log_names`, `compute_losses` and `default_optimizers`;
    its networks are built before it. A player's gradient is that of its own loss with respect
    to its own variables alone; all gradients are taken before any update. One player is the
    plain case.
    """

    train_function: Any  # Keras', which `leave_out` replaces for a while

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._trackers: list[keras.metrics.Mean] = []
        self._watch: Watch | None = None
        self._left_out = 0
        self.gone_back = False  # set by a callback that puts back an older state of the running `fit`
        self.built = True

    def player_networks(self) -> dict[str, list[keras.Model]]:
        """`{player: [networks]}`; no two players own the same variable."""
        raise NotImplementedError

    @property
    def log_names(self) -> tuple[str, ...]:
        """Names of the reported values, `loss` first."""
        raise NotImplementedError

    @property
    def players(self) -> tuple[str, ...]:
        """Names of the players, in the order of their optimizers."""
        return tuple(self.player_networks())

    def player_variables(self) -> dict[str, list[keras.Variable]]:
        """`{player: [trainable variables]}`."""
        return {
            player: [variable for network in networks for variable in network.trainable_variables]
            for player, networks in self.player_networks().items()
        }

    def compute_losses(self, x: Tensor, y: Tensor | None = None, training: bool = False) -> Losses:
        """Return the `Losses` of a batch of images `x` `(B, H, W, C)` and labels `y`, or None."""
        raise NotImplementedError

    def default_optimizers(self) -> dict[str, keras.optimizers.Optimizer]:
        """`{player: optimizer}`: the model's own recipe, used by `compile()` without arguments."""
        raise NotImplementedError

    # ---- compile ----

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer | dict[str, Any] | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | Literal["auto"] = "auto",
    ) -> None:
        """Configure training.

        Args:
            optimizer: None for the model's own recipe; a name or a Keras optimizer, copied for
                every player; or `{player: optimizer}`, where players that are left out keep
                their own recipe.
            run_eagerly, steps_per_execution, jit_compile: as in `keras.Model.compile`.

        The model brings its own losses and metrics. Under `mixed_float16` the losses are scaled.

        Raises:
            InputError: an unknown player, one optimizer for two, a player all of whose networks are frozen, a
                trainable variable that none or two of the players own.
        """
        self._check_owners()
        self._left_out = 0
        if not self._trackers:
            self._trackers = [keras.metrics.Mean(name=name) for name in self.log_names]
        optimizers = self._optimizers_by_player(optimizer)
        for given in optimizers.values():
            self.quicken(given)
            given.finalize_variable_values = functools.partial(_put_averages_in_place, given)
        combined = self._combine(optimizers)
        if self.dtype_policy.name == "mixed_float16":
            combined = LossScaleOptimizer(combined, name="loss_scale_optimizer")
        super().compile(
            optimizer=combined,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=False,
        )
        self._compile_arguments = {
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile,
        }
        self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict[str, Any] | None:
        """What `compile_from_config` needs to compile an equal model."""
        if not self.compiled:
            return None
        optimizers = {player: _portable(self.player_optimizer(player)) for player in self.players}
        return {"optimizer": optimizers, **self._compile_arguments}

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compile from the result of `get_compile_config`."""
        config = dict(config)
        optimizers = {
            player: keras.saving.deserialize_keras_object(optimizer)
            for player, optimizer in config.pop("optimizer").items()
        }
        self.compile(optimizers, **config)

    def player_optimizer(self, player: str) -> keras.optimizers.Optimizer:
        """The Keras optimizer of one player, or raise `InputError` where there is no such player."""
        choose("player", player, self.players)
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        return getattr(optimizer, "optimizers", [optimizer])[self.players.index(player)]

    def _optimizers_by_player(self, optimizer: Any) -> dict[str, keras.optimizers.Optimizer]:
        if optimizer is None:
            optimizer = {}
        if not isinstance(optimizer, dict):
            given = keras.optimizers.get(optimizer)
            optimizer = {player: type(given).from_config(given.get_config()) for player in self.players}
        for player in optimizer:
            choose("optimizer: player", player, self.players)
        optimizers = self.default_optimizers()
        optimizers.update({player: keras.optimizers.get(given) for player, given in optimizer.items()})
        if len({id(given) for given in optimizers.values()}) < len(optimizers):
            raise InputError("optimizer must be a different object for each player; received one twice.")
        for player, given in optimizers.items():
            given.name = player  # learning-rate callbacks log `learning_rate_<name>`
        return {player: optimizers[player] for player in self.players}

    def _combine(self, optimizers: dict[str, keras.optimizers.Optimizer]) -> keras.optimizers.Optimizer:
        """One Keras optimizer that gives each variable to its player's."""
        if len(optimizers) == 1:
            return next(iter(optimizers.values()))
        by_path = {
            variable.path: optimizers[player]
            for player, variables in self.player_variables().items()
            for variable in variables
        }
        default = next(iter(optimizers.values()))
        return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(default, by_path))

    def _check_owners(self) -> None:
        owners: dict[str, str] = {}
        for player, variables in self.player_variables().items():
            if not variables:
                raise InputError(f"every player must have trainable variables; those of {player} are frozen.")
            for variable in variables:
                if variable.path in owners:
                    raise InputError(
                        f"networks must have variables of different paths (name the layers apart); "
                        f"{variable.path!r} is owned by {owners[variable.path]} and {player}."
                    )
                owners[variable.path] = player
        orphans = [variable.path for variable in self.trainable_variables if variable.path not in owners]
        if orphans:
            raise InputError(f"every trainable variable must have a player; {orphans[0]!r} has none.")

    # ---- one step, called by the backend's leaf ----

    def objective(self, loss: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Mean over the batch of a loss `(B,)`, weighted if weights `(B,)` are given."""
        if sample_weight is not None:
            loss = loss * ops.reshape(ops.cast(sample_weight, loss.dtype), ops.shape(loss))
        return ops.mean(loss)

    def apply_gradients(self, gradients: Mapping[str, list[Tensor]], active: Mapping[str, Tensor]) -> None:
        """Let every player move; one that is not active keeps its weights and optimizer slots.

        Args:
            gradients: `{player: [gradients]}` in the order of `player_variables`.
            active: `{player: boolean scalar}` for players that may have to stand still.
        """
        variables = self.player_variables()
        by_id = {
            id(variable): gradient
            for player in variables
            for variable, gradient in zip(variables[player], gradients[player], strict=True)
        }
        held = [
            (flag, variable, ops.copy(variable))
            for player, flag in active.items()
            for variable in [*variables[player], *self.player_optimizer(player).variables]
        ]
        ordered = self.trainable_variables
        self.update([by_id[id(variable)] for variable in ordered], ordered)
        # A select, not a branch: zero gradients would still move weights under momentum.
        for flag, variable, value in held:
            variable.assign(ops.where(flag, ops.convert_to_tensor(variable), value))

    def track(self, losses: Losses) -> None:
        """Add a batch's logs to the running means of the epoch."""
        for tracker in self._trackers:
            tracker.update_state(losses.logs[tracker.name], losses.weights.get(tracker.name))

    # ---- going on within an epoch ----

    def leave_out(self, batches: int) -> None:
        """Draw the next batches of the running `fit` without a step, as they were trained on before.

        Args:
            batches: a multiple of `steps_per_execution`, or all of the epoch; 0 if no more are to be left
                out.
        """
        self._left_out = batches
        if not batches:
            return
        step = self.train_function

        def draw(*arguments: Any) -> Any:
            if self._left_out <= 0:
                self.train_function = step
                return step(*arguments)
            self._left_out -= self.steps_per_execution
            *state, data = arguments  # the state is JAX's
            if not isinstance(data, list):
                for _ in range(self.steps_per_execution):
                    next(data, None)  # the last execution may be a short one
            logs = {} if self._left_out > 0 else self._means_so_far(*state)  # of an epoch without a step, too
            return (logs, *state) if state else logs

        self.train_function = draw

    def _means_so_far(self, state: Any = None) -> dict[str, Tensor]:
        """The logs as a training step returns them; `state` is JAX's."""
        if state is None:
            return self.get_metrics_result()
        with keras.StatelessScope(state_mapping=zip(self.metrics_variables, state[-1], strict=True)):
            return self.get_metrics_result()

    # ---- a watch on the steps ----

    def set_watch(self, watch: Watch | None) -> None:
        """Let `watch` see the tensors of each training step from now on; None for none."""
        self._watch = watch
        if self.train_function is not None:
            self.make_train_function(force=True)
            if self._left_out > 0:  # what was asked of the function before
                self.leave_out(self._left_out)

    def observe(
        self, x: Tensor, sample_weight: Tensor | None, losses: Losses, gradients: Mapping[str, list[Tensor]]
    ) -> None:
        """Show the watch, if there is one, a step's tensors; called when all players have moved."""
        if self._watch is not None:
            tensors = step_tensors(self, x, sample_weight, losses, gradients)
            self._watch.observe(tensors, self.replica_mean)

    @property
    def metrics_variables(self) -> list[keras.Variable]:
        """The state of the running means and of the watch, which JAX hands from step to step."""
        return [*super().metrics_variables, *(self._watch.variables if self._watch else [])]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means that `fit` and `evaluate` report, `loss` first."""
        return list(self._trackers)


def _put_averages_in_place(optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]) -> None:
    """What Keras has an optimizer do when `fit` ends, unless the averages are young."""
    if not optimizer.use_ema:
        return
    try:
        steps = int(ops.convert_to_numpy(optimizer.iterations))
    except TypeError:
        return  # a step failed, which on JAX takes the variables' values along: its error is to be seen
    if steps >= 3.0 / (1.0 - optimizer.ema_momentum):
        type(optimizer).finalize_variable_values(optimizer, variables)


def _portable(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """Configuration of an optimizer that every backend reads: Keras names the backend's own class."""
    config = keras.saving.serialize_keras_object(optimizer)
    if config["module"].startswith("keras.src.backend."):
        config |= {"module": "keras.optimizers", "registered_name": None}
    return config
