"""A Keras model trained by several players, each minimizing its own loss from one forward pass."""

import functools
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import keras
from keras import ops

from keras_vaegan.backend import Steps, layers_of, quicken_layers
from keras_vaegan.errors import InputError, choose, one_line, unknown_name, whole_number
from keras_vaegan.training import slots
from keras_vaegan.training.checks import check_channels, check_floatx, check_weights
from keras_vaegan.training.inputs import Seen
from keras_vaegan.training.watch import Watch, step_tensors
from keras_vaegan.typing import Tensor

REGULARIZATION = "regularization"  # log of what regularizers and `add_loss` add to the players' losses


class Losses(NamedTuple):
    """What `compute_losses` gives for one batch.

    Attributes:
        players: `{player: (B,)}`, each player's loss per example.
        logs: `{log name: (B,)}`, the values whose epoch means are reported.
        active: `{player: scalar}`, true where that player moves in this step; a player that is
            not named always moves.
        weights: `{log name: (B,)}`, how much each example counts in that mean, where not all do alike.
        penalties: `{player: scalar}`, what the networks' regularizers and `add_loss` add to a player's loss.
    """

    players: dict[str, Tensor]
    logs: dict[str, Tensor]
    active: dict[str, Tensor] = {}
    weights: dict[str, Tensor] = {}
    penalties: dict[str, Tensor] = {}


class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Keras' loss scaling, through which learning-rate callbacks find the players' optimizers."""

    def __getattr__(self, name: str) -> Any:
        if name == "optimizers" and isinstance(self.inner_optimizer, keras.optimizers.MultiOptimizer):
            return self.inner_optimizer.optimizers
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class MultiPlayerModel(Steps, keras.Model):
    """A model whose training step lets each player minimize its own loss, under stock `fit`.

    A subclass gives `player_networks`, `log_names`, `compute_losses` and `default_optimizers`;
    its networks are built before it. A player's gradient is that of its own loss with respect
    to its own variables alone; all gradients are taken before any update. One player is the
    plain case.
    """

    train_function: Any  # Keras', which `leave_out` replaces for a while

    def __init__(self, **kwargs: Any) -> None:
        check_floatx()
        super().__init__(**kwargs)
        self._trackers: list[keras.metrics.Mean] = []
        self._watch: Watch | None = None
        self._spare_watch: Watch | None = None
        self._steps_made: dict[bool, Any] = {}  # with a watch, and without
        self._seen_in_training: Seen | None = None
        self._seen_in_test: Seen | None = None
        self._compiled_for: list[int] = []
        self._penalized = True
        self.guarded = True  # whether the batches of now have not been checked before
        self.in_training = False  # whether `fit` runs
        self._left_out = 0
        self._step_to_come: Any = None  # behind the function that leaves batches out
        self.gone_back = False  # set by a callback that puts back an older state of the running `fit`
        self.gone_back_to: Any = None  # that state with its position, as `checkpoints.Kept`, if it is known
        self.built = True

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, keras.Layer):  # a network, before the model is made of it
            check_channels(name, value)
            check_weights(name, value)
            quicken_layers(value)
        super().__setattr__(name, value)

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
            run_eagerly, steps_per_execution, jit_compile: as in `keras.Model.compile`; on PyTorch steps
                are neither compiled nor joined.

        The model brings its own losses and metrics. Under `mixed_float16` the losses are scaled.

        Raises:
            InputError: an unknown player, one optimizer for two, an optimizer that wraps others or was built
                for other variables, a player all of whose networks are frozen, a trainable variable that none
                or two of the players own, a setting that cannot be used.
        """
        self._check_settings(run_eagerly, steps_per_execution, jit_compile)
        self._check_owners()
        self._left_out, self._step_to_come = 0, None
        self._penalized = self._may_be_penalized()
        names = [*self.log_names, *([REGULARIZATION] if self._penalized else [])]
        if [tracker.name for tracker in self._trackers] != names:
            self._trackers = [keras.metrics.Mean(name=name) for name in names]
        if self._seen_in_training is None:
            self._seen_in_training, self._seen_in_test = Seen(), Seen()
        self._compiled_for = self._trained_now()
        self._steps_made = {}
        optimizers = self._optimizers_by_player(optimizer)
        for given in optimizers.values():
            self.quicken(given)
            given.finalize_variable_values = functools.partial(_put_averages_in_place, given)
        combined = self._combine(optimizers)
        if self._scales_losses:
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
        if not self.compiles_steps:  # and the file may come from a backend that does
            config["steps_per_execution"] = 1
            config["jit_compile"] = "auto" if config.get("jit_compile") else False
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

    @property
    def steps_done(self) -> Tensor:
        """Training steps so far, one for each batch, whether or not the optimizers accumulate gradients."""
        return slots.steps_of(self.optimizer)

    def _optimizers_by_player(self, optimizer: Any) -> dict[str, keras.optimizers.Optimizer]:
        if optimizer is None:
            optimizer = {}
        if not isinstance(optimizer, dict):
            given = _optimizer_of("optimizer", optimizer)
            optimizer = {player: slots.copy_unbuilt(given) for player in self.players}
        for player in optimizer:
            choose("optimizer: player", player, self.players)
        optimizers = self.default_optimizers()
        optimizers.update(
            {player: _optimizer_of(f"optimizer of {player}", given) for player, given in optimizer.items()}
        )
        if len({id(given) for given in optimizers.values()}) < len(optimizers):
            raise InputError("optimizer must be a different object for each player; received one twice.")
        for player, variables in self.player_variables().items():
            if not slots.are_for(optimizers[player], variables):
                raise InputError(
                    f"optimizer of {player} must be new: the one received was built for other variables; "
                    "compile with a new one."
                )
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
        factors = {player: given.loss_scale_factor for player, given in optimizers.items()}
        combined = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(default, by_path))
        if not self._scales_losses:
            for player, factor in factors.items():  # which Keras replaces by one for all
                optimizers[player].loss_scale_factor = factor
        return combined

    @property
    def _scales_losses(self) -> bool:
        return self.dtype_policy.name == "mixed_float16"

    def _check_settings(self, run_eagerly: Any, steps_per_execution: Any, jit_compile: Any) -> None:
        if whole_number("steps_per_execution", steps_per_execution, 1) > 1 and not self.compiles_steps:
            raise InputError(
                f"steps_per_execution must be 1 on {keras.backend.backend()}; received {steps_per_execution}."
            )
        if not isinstance(run_eagerly, bool):
            raise InputError(f"run_eagerly must be True or False; received {run_eagerly!r}.")
        if not isinstance(jit_compile, bool) and jit_compile != "auto":
            raise InputError(f"jit_compile must be True, False or 'auto'; received {jit_compile!r}.")
        if jit_compile is True and not self.compiles_steps:
            raise InputError(
                f"jit_compile must be False or 'auto' on {keras.backend.backend()}, which cannot compile the "
                "steps of several players; received True."
            )

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

    def _trained_now(self) -> list[int]:
        return [id(variable) for variables in self.player_variables().values() for variable in variables]

    def check_compiled(self) -> None:
        """Raise unless the same variables are to be trained as when the model was compiled."""
        if self.compiled and self._trained_now() != self._compiled_for:
            raise InputError(
                "compile() must be called again: `trainable` or a network has changed since the last call."
            )

    def _may_be_penalized(self) -> bool:
        """Whether a network has a regularizer, or a layer that may call `add_loss`."""
        networks = [network for networks in self.player_networks().values() for network in networks]
        regularized = any(
            variable.regularizer is not None for network in networks for variable in network.trainable_weights
        )
        return regularized or any(
            _may_add_losses(layer) for network in networks for layer in layers_of(network)
        )

    # ---- one step, called by the backend's leaf ----

    def make_train_function(self, force: bool = False) -> None:
        """Keras' function of steps; slots are made when compiled, before weights may be loaded."""
        if self.train_function is None and self.compiled:
            for player in self.players:
                slots.begin(self.player_optimizer(player))
        super().make_train_function(force)

    def forget_steps(self) -> None:
        """Forget the compiled steps, since a part of the model was replaced; they are compiled anew."""
        self._steps_made = {}
        self.train_function = self.test_function = self.predict_function = None

    def step_losses(self, x: Tensor, y: Tensor | None, training: bool) -> Losses:
        """What `compute_losses` gives, with what the players' networks add to their losses."""
        if not self._penalized:  # to look takes as long as a small network does, where no graph is compiled
            return self.compute_losses(x, y, training=training)
        # One call of the model to Keras: layers keep what `add_loss` was given, of all calls of a network.
        self._get_call_context()
        try:
            losses = self.compute_losses(x, y, training=training)
            penalties = self.penalties()
        finally:
            self._maybe_reset_call_context()
        logs = dict(losses.logs)
        for player, penalty in penalties.items():
            if player in logs:
                logs[player] = logs[player] + penalty
        logs[REGULARIZATION] = sum(penalties.values(), start=ops.zeros(()))
        return losses._replace(logs=logs, penalties=penalties)

    def penalties(self) -> dict[str, Tensor]:
        """`{player: scalar}`: the regularizers of its variables and what `add_loss` was given, in float32."""
        found = {}
        for player, networks in self.player_networks().items():
            own = {id(loss): loss for network in networks for loss in self.losses_of(network)}
            if own:
                found[player] = sum(ops.sum(ops.cast(loss, "float32")) for loss in own.values())
        return found

    def objective(self, losses: Losses, player: str, sample_weight: Tensor | None = None) -> Tensor:
        """What a player minimizes: the mean over the batch of its loss `(B,)`, and its penalties.

        Args:
            losses: what `step_losses` gives.
            player: its name.
            sample_weight: weights `(B,)`; the mean is of the weighted losses, as in Keras.
        """
        loss = losses.players[player]
        if sample_weight is not None:
            loss = loss * ops.reshape(ops.cast(sample_weight, loss.dtype), ops.shape(loss))
        mean = ops.mean(loss)
        return mean + losses.penalties[player] if player in losses.penalties else mean

    def scale_loss(self, player: str, objective: Tensor) -> Tensor:
        """A player's objective times the factor by which its optimizer will divide the gradients."""
        if isinstance(self.optimizer, keras.optimizers.MultiOptimizer):
            return self.player_optimizer(player).scale_loss(objective)
        return self.optimizer.scale_loss(objective)

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

    def track(self, losses: Losses, sample_weight: Tensor | None = None) -> None:
        """Add a batch's logs to the running means of the epoch, weighted if weights `(B,)` are given."""
        for tracker in self._trackers:
            values, weights = losses.logs[tracker.name], losses.weights.get(tracker.name)
            if sample_weight is not None and len(values.shape):
                given = ops.reshape(ops.cast(sample_weight, values.dtype), ops.shape(values))
                weights = given if weights is None else given * weights
            tracker.update_state(values, weights)

    # ---- what comes from datasets, loaders and generators ----

    def check_batch(self, x: Any, y: Any) -> None:
        """Raise unless a batch has the form that the model takes; called once for each form."""

    def note(self, x: Tensor, y: Tensor | None, training: bool, sample_weight: Tensor | None = None) -> None:
        """Note the extremes of a batch, which `check_seen` looks at."""
        seen = self._seen_in_training if training else self._seen_in_test
        if seen is not None:
            seen.observe(x, y, sample_weight)

    def forget_seen(self) -> None:
        """Forget the extremes of the batches of an older training."""
        if self._seen_in_training is not None:
            self._seen_in_training.forget()

    def check_seen(self, training: bool) -> None:
        """Raise if a batch held values that will not do, and forget them."""

    def warn_of_seen(self) -> None:
        """Warn of what a training has seen that is allowed, and hardly meant."""

    # ---- going on within an epoch ----

    def leave_out(self, batches: int) -> None:
        """Draw the next batches of the running `fit` without a step, as they were trained on before.

        Args:
            batches: a multiple of `steps_per_execution`, or all of the epoch; 0 if no more are to be left
                out.
        """
        self._left_out = batches
        if self._step_to_come is not None:
            self.train_function, self._step_to_come = self._step_to_come, None
        if not batches:
            return
        step = self._step_to_come = self.train_function

        def draw(*arguments: Any) -> Any:
            if self._left_out <= 0:
                self.leave_out(0)
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

    @property
    def watch(self) -> Watch | None:
        """What sees the tensors of each training step; None if nothing does."""
        return self._watch

    def watched(self, on: bool) -> Watch | None:
        """Let the model's watch see the tensors of each training step from now on, or not.

        The watch and the compiled steps, with it and without, are made once: a thousand fits hold no more.

        Returns:
            The watch, which knows nothing yet; None where it is off.
        """
        if on != (self._watch is not None):
            left_out = self._left_out
            self.leave_out(0)
            made, self._steps_made[not on] = self.train_function is not None, self.train_function
            if on and self._spare_watch is None:
                self._spare_watch = Watch()
            self._watch = self._spare_watch if on else None
            self.train_function = self._steps_made.get(on)
            if made:
                self.make_train_function()
            self.leave_out(left_out)
        if self._watch is not None:
            self._watch.forget()
        return self._watch

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
        seen = [seen.maxima for seen in (self._seen_in_training, self._seen_in_test) if seen is not None]
        return [*super().metrics_variables, *seen, *(self._watch.variables if self._watch else [])]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means that `fit` and `evaluate` report, `loss` first."""
        return list(self._trackers)


def _may_add_losses(layer: keras.Layer) -> bool:
    """Whether a layer is the user's own, or one of Keras' that has a loss to add."""
    if getattr(layer, "activity_regularizer", None) is not None:
        return True
    return not type(layer).__module__.startswith(("keras.", "keras_vaegan."))


def _optimizer_of(argument: str, given: Any) -> keras.optimizers.Optimizer:
    """The Keras optimizer that is given, or has the name that is given, or raise `InputError`."""
    wrappers = (keras.optimizers.LossScaleOptimizer, keras.optimizers.MultiOptimizer)
    if isinstance(given, wrappers):
        raise InputError(
            f"{argument} must be a plain Keras optimizer, since the model scales its losses itself under "
            f"mixed_float16 and keeps one for each player; received a {type(given).__name__}."
        )
    if isinstance(given, keras.optimizers.Optimizer):
        return given
    if not isinstance(given, str):
        raise InputError(f"{argument} must be a Keras optimizer or its name; received {one_line(given, 80)}.")
    try:
        return keras.optimizers.get(given)
    except (TypeError, ValueError):
        names = [
            name.lower()
            for name, kind in vars(keras.optimizers).items()
            if isinstance(kind, type) and issubclass(kind, keras.optimizers.Optimizer)
            if kind not in (keras.optimizers.Optimizer, *wrappers)
        ]
        raise unknown_name(argument, given, names) from None


def _put_averages_in_place(optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]) -> None:
    """What Keras has an optimizer do when `fit` ends, unless the averages are young."""
    if not optimizer.use_ema:
        return
    try:
        steps = int(ops.convert_to_numpy(slots.steps_of(optimizer)))  # Keras averages at each of them
    except TypeError:
        return  # a step failed, which on JAX takes the variables' values along: its error is to be seen
    if steps >= 3.0 / (1.0 - optimizer.ema_momentum):
        type(optimizer).finalize_variable_values(optimizer, variables)


def _portable(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """Configuration of an optimizer that every backend reads: Keras names the backend's own class."""
    config = keras.saving.serialize_keras_object(optimizer)
    if type(optimizer).__module__.startswith("keras."):
        config |= {"module": "keras.optimizers", "registered_name": None}
    return config
