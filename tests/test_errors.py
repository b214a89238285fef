"""`InputError`: its fields, the form of the package's messages, the options that they name."""

import ast
import copy
import functools
import json
import pathlib
import pickle
import re

import click
import numpy as np
import pytest
from click.testing import CliRunner

import keras_vaegan
from keras_vaegan import InputError, cli, data, errors, files, kinds, locks, memory
from keras_vaegan.backend_choice import BackendError

pytestmark = pytest.mark.core_on("one")

PACKAGE = pathlib.Path(keras_vaegan.__file__).parent


def raised(function, *arguments, **named):
    """The `InputError` of a call."""
    with pytest.raises(InputError) as caught:
        function(*arguments, **named)
    return caught.value


def fields(error):
    return str(error), error.argument, error.allowed, error.received


# ---- the fields ----


def test_the_helpers_fill_the_fields():
    assert fields(errors.unknown_name("format", "onx", ["onnx", "web"])) == (
        "format must be one of onnx, web; received 'onx'. Did you mean 'onnx'?",
        "format",
        ("onnx", "web"),
        "onx",
    )
    assert fields(raised(errors.choose, "k", [1], {"a": 1})) == (
        "k must be one of a; received [1].",
        "k",
        ("a",),
        [1],
    )
    assert fields(raised(errors.whole_number, "training.epochs", 0, 1)) == (
        "training.epochs must be an integer of at least 1; received 0.",
        "training.epochs",
        "an integer of at least 1",
        0,
    )
    assert fields(raised(errors.at_least, "r1", None, 0.5)) == (
        "r1 must be a number of at least 0.5; received None.",
        "r1",
        "a number of at least 0.5",
        None,
    )
    assert fields(raised(errors.flag, "sample", 1)) == (
        "sample must be True or False; received 1.",
        "sample",
        "True or False",
        1,
    )
    assert fields(raised(kinds.check_kind, "option model.gamma", "a", float)) == (
        "option model.gamma must be a finite number; received 'a'.",
        "model.gamma",
        "a finite number",
        "a",
    )


@pytest.mark.parametrize(
    ("word", "names", "meant"),
    [
        ("betta", ["beta", "alpha"], "beta"),
        ("FRECHTE", ["frechet"], "frechet"),
        ("vae_gan_minst", ["vae_gan_mnist", "vae_mnist"], "vae_gan_mnist"),
        ("tset", ["test", "validation"], "test"),
        ("dgo", ["dog", "cat"], "dog"),
        ("tensorlfwo", ["tensorflow"], "tensorflow"),
        ("unet", ["dcgan", "lenet", "resnet"], None),
        ("theano", ["tensorflow", "jax", "torch"], None),
        ("train", ["test", "validation"], None),
        ("nothing", ["mnist_plain", "mnist_residual", "imagenet", "inception_v3"], None),
        ("cow", ["cat", "dog"], None),
    ],
)
def test_a_name_is_suggested_for_a_misspelling_alone(word, names, meant):
    assert errors.nearest(word, names) == meant


def test_many_names_are_not_all_told():
    error = errors.unknown_name("preset", "c", "ab", kind="a preset", listing="`x` lists all.")
    assert fields(error) == (
        "preset must be a preset; received 'c'. `x` lists all.",
        "preset",
        ("a", "b"),
        "c",
    )
    meant = errors.unknown_name("metrics", "FID", ["frechet"], synonyms={"fid": "frechet"})
    assert str(meant).endswith("Did you mean 'frechet'?")


def test_files_locks_and_memory_fill_the_fields(tmp_path):
    folder = tmp_path / "a b"  # a blank in a path hides nothing
    assert raised(files.user_path, "images: labels", 5).argument == "images"
    missing = raised(files.read_json, folder / "x.json", "source")
    assert (missing.argument, missing.received) == ("source", folder / "x.json")
    assert str(missing).startswith(f"source {folder}")
    assert raised(files.read_json, folder / "x.json").argument is None
    unwritable = raised(files.check_json, {"a": {1}}, "metadata")
    assert (unwritable.argument, unwritable.received) == ("metadata", {1})
    folder.mkdir()
    with locks.FolderLock(folder, "--output"):
        taken = raised(locks.FolderLock(folder, "--output").acquire)
    assert (taken.argument, taken.received) == ("--output", folder)
    large = raised(memory.require, "num_images=9", 10**18, "Use fewer.")
    assert (large.argument, large.received) == ("num_images", 10**18) and 0 <= large.allowed < 10**18
    assert raised(data.load, tmp_path / "a b").argument == "source"
    assert raised(data.load_pictures, tmp_path / "none", (8, 8, 1)).argument == "images"
    np.savez(folder / "x.npz", other=np.zeros(3))
    told = raised(data.load, folder / "x.npz")
    assert (told.argument, told.received) == ("source", ("other",)) and str(folder) in str(told)
    assert raised(data.load_pictures, folder / "x.npz", (8, 8, 1)).argument == "images"


@pytest.mark.parametrize(
    ("message", "argument"),
    [
        ("num_images must be at most 5; received 6.", "num_images"),
        ("optimizer.generator.class must be one of adam; received 'x'.", "optimizer.generator.class"),
        ("option networks.latent_dim must be an integer; received 'x'.", "networks.latent_dim"),
        ("--num-images must be a number.", "--num-images"),
        ("RUN must be the folder of a training.", "RUN"),
        ("a must be an image.", "a"),
        ("source cannot be read: it is empty", "source"),
        ("preset hf://user/name cannot be downloaded: no network", "preset"),
        ("mask /x/left.png must be a picture.", "mask"),
        ("option 'a b' must be an option of vae.", "option"),
        ("data_dir (a remark) must be a folder.", "data_dir"),
        ("metadata['results']['loss'] must be what JSON holds.", "metadata"),
        ("part[0] must be an integer.", "part"),
        ("images: class folder must be one of a, b.", "images"),
        ("x of the first batch must lie in [0, 1].", "x"),
        ("encoder and decoder must agree on the image.", None),
        ("every player must have trainable variables.", None),
        ("a covariance must have at least 2 rows.", None),
        ("this VAE cannot complete images.", None),
        ("Keras cannot be imported.", None),
        ("/x/y.npz must hold the keys x.", None),
        ("num_images", None),
        ("", None),
        (np.zeros(3), None),
    ],
)
def test_the_argument_is_found_in_the_message(message, argument):
    error = InputError(message)
    assert (error.argument, error.allowed, error.received) == (argument, None, None)
    assert str(error) == errors.one_line(message)


@pytest.mark.parametrize(
    ("phrase", "argument"),
    [
        ("num_images", "num_images"),
        ("images: labels", "images"),
        ("num_images=10", "num_images"),
        ("images (20 images of 4x5)", "images"),
        ("source /a b/c.npz", "source"),
        ("--resume /a b/metadata.json: seed", "--resume"),
        ("option model.gamma", "model.gamma"),
        ("/a/b.json: seed", None),
        ("", None),
    ],
)
def test_a_phrase_is_reduced_to_the_name_it_begins_with(phrase, argument):
    assert InputError("Something is wrong.", argument=phrase).argument == argument


def test_a_renamed_error_differs_in_its_argument_alone(tmp_path):
    error = errors.unknown_name("source", "dogits", ["digits"])
    renamed = error.renamed("--dataset")
    assert fields(renamed) == (
        "--dataset must be one of digits; received 'dogits'. Did you mean 'digits'?",
        "--dataset",
        ("digits",),
        "dogits",
    )
    assert str(error).startswith("source must") and error.argument == "source"
    assert str(InputError("option model.gamma must be 1.").renamed("--set gamma")) == "--set gamma must be 1."
    valued = InputError("k=5 must fit: k is 5.", argument="k=5").renamed("--k")
    assert str(valued) == "--k=5 must fit: k is 5."
    elsewhere = InputError("Nothing is at source.", argument="source").renamed("--dataset")
    assert fields(elsewhere) == ("Nothing is at source.", "--dataset", None, None)
    longer = InputError("sources must be many.", argument="source").renamed("--dataset")
    assert str(longer) == "sources must be many."
    with locks.FolderLock(tmp_path, "folder"), pytest.raises(locks.InUse, match="^--output must be"):
        with errors.renaming(folder="--output"), locks.FolderLock(tmp_path, "folder"):
            pass
    backend = BackendError("name must be a backend.").renamed("--backend")
    assert type(backend) is BackendError and str(backend) == "--backend must be a backend."


def test_errors_about_other_arguments_pass_the_renaming():
    error = InputError("seed must be 1.")
    with pytest.raises(InputError) as caught, errors.renaming(source="--dataset"):
        raise error
    assert caught.value is error
    with pytest.raises(ValueError, match="^source must"), errors.renaming(source="--dataset"):
        raise ValueError("source must be something else's.")


@pytest.mark.parametrize("kind", [InputError, locks.InUse, BackendError])
@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_the_fields_survive_copying_and_pickling(kind, twin):
    error = kind("x must be y.", argument="images: labels", allowed=("a", "b"), received={"k": [1, None]})
    error.add_note("a note")
    other = twin(error)
    assert type(other) is kind and fields(other) == fields(error)
    assert fields(other) == ("x must be y.", "images", ("a", "b"), {"k": [1, None]})
    assert other.__notes__ == ["a note"]


def test_a_value_that_cannot_be_pickled_becomes_text():
    value = (i for i in range(3))
    error = InputError("x must be an array.", received=value)
    other = pickle.loads(pickle.dumps(error))
    assert other.received == errors.shown(value) and error.received is value
    assert copy.copy(error).received is value


# ---- the form of the package's messages ----

# Variables that hold an argument's name, at the beginning of a message.
CARRIERS = {"argument", "self.argument", "name", "which", "prefix", "parameter.opts[0]"}
SECTIONS = {"model", "networks", "optimizer", "training"}  # of a recipe, whose options have dotted names
# A message on several arguments, which has none of them as its own.
SEVERAL = re.compile(r"((?:\w+, )*\w+) (?:and|or) (\w+) must ")
# Beginnings of the other messages that have no argument.
WITHOUT_ARGUMENT = (
    "Keras' floatx must be",
    "both sets must have",
    "compile() must be called again",
    "done.stderr.strip()",  # another process's message, which has the form again
    "every player must have",
    "every trainable variable must have",
    "not_one_label_each('y', ",  # functions that give a message about their argument
    "preset 7 cannot be downloaded",  # 7 is a name; an address of the Hub has the form
    "preset 7 must have a recipe",
    "preset 7 needs the package",
    "self._takes_no_labels(",
    "this 7 cannot complete images",
    "this 7 knows no classes",
    "x does not take these settings",  # x is a part of a recipe
    "x has no attention",  # x is a layer
)


@functools.cache
def trees():
    """The syntax trees of the package's modules."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def calls():
    """Every error that the package makes: place, call, function around it, and constants of its module."""
    classes = [node for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    errors_of_input = {"InputError"}
    for _ in range(3):  # subclasses of subclasses
        for one in classes:
            if errors_of_input & {ast.unparse(base) for base in one.bases}:
                errors_of_input.add(one.name)
    assert len(errors_of_input) > 2
    for path, tree in trees().items():
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        around = {}
        for function in ast.walk(tree):  # inner functions come later
            if isinstance(function, ast.FunctionDef):
                around.update(dict.fromkeys(ast.walk(function), function))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in errors_of_input:
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node, around.get(node), constants


def written(expression, function, constants):
    """The text of a message, with "7" in its gaps, and the variable that it begins with.

    A variable at the beginning becomes "x", a prefix nothing. An expression that is no text stays as it is.
    """
    if isinstance(expression, ast.Name) and function is not None:
        texts = [
            node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == expression.id
        ]
        if len(texts) == 1:
            return written(texts[0], function, constants)
    if isinstance(expression, ast.Constant):
        return str(expression.value), None
    if not isinstance(expression, ast.JoinedStr):
        return ast.unparse(expression), None
    text, leading = "", None
    for part in expression.values:
        if isinstance(part, ast.Constant):
            text += part.value
            continue
        source = ast.unparse(part.value)
        if part is expression.values[0]:
            leading = source
            text = "" if source == "prefix" else "x"
        else:
            gap = constants.get(source, 7)
            text += f"'{gap}'" if part.conversion == ord("r") else str(gap)
    return text, leading


def known_names():
    """Names of arguments: of all functions of the package, of options, and of the environment."""
    names = {"KERAS_BACKEND", "KERAS_HOME", "SOURCE", "RUN", "backend"}
    names |= {"validation_data", "validation_split"}  # of Keras
    for tree in trees().values():
        names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for command in cli.cli.commands.values():
        names |= {name for parameter in command.params for name in parameter.opts}
    return names


def test_every_message_names_its_argument():
    names, used, wrong = known_names(), set(), []
    for place, call, function, constants in calls():
        text, leading = written(call.args[0], function, constants)
        given = [keyword.value for keyword in call.keywords if keyword.arg == "argument"]
        found = InputError(text).argument
        several = SEVERAL.match(text)
        exceptions = [one for one in WITHOUT_ARGUMENT if text.startswith(one)]
        if given:
            known = not isinstance(given[0], ast.Constant) or given[0].value in names
        elif found is None and several:
            known = {*several[1].split(", "), several[2]} <= names
        elif leading is not None:
            known = found is not None and leading in CARRIERS
        else:
            known = found in names or str(found).split(".")[0] in SECTIONS
        if known == bool(exceptions):
            wrong.append(f"{place}: {found} {text}")
        used.update(exceptions)
    assert not wrong, "\n".join(wrong)
    assert used == set(WITHOUT_ARGUMENT)


# ---- the names of options at the command line ----

COMMANDS = dict(cli.cli.commands)


def context_of(name, *words):
    """The context of a command with these words after its name; callbacks are not called."""
    command = COMMANDS[name]
    context = click.Context(command, info_name=name)
    with context.scope(cleanup=False):
        parser = command.make_parser(context)
        values, _, _ = parser.parse_args(args=list(words))
        for parameter in command.params:
            given = parameter.name in values
            source = click.core.ParameterSource
            context.set_parameter_source(parameter.name, source.COMMANDLINE if given else source.DEFAULT)
            context.params[parameter.name] = values.get(parameter.name)
    return context


def test_every_command_maps_its_parameters():
    seen = set()
    for name, command in COMMANDS.items():
        for parameter in command.params:
            if isinstance(parameter, click.Argument):
                expected = {parameter.name: parameter.name.upper()}
            else:
                (expected,) = [option for option in parameter.opts if option.startswith("--")]
                expected = {parameter.name: expected, expected[2:].replace("-", "_"): expected}
            for argument, option in expected.items():
                assert command.name_of(argument, context_of(name)) == option
            seen.update(expected.values())
        assert command.name_of("no_such_argument", context_of(name)) is None
    assert {"--num-images", "--dataset", "--set", "--model", "SOURCE", "RUN", "NAME"} <= seen


@pytest.mark.parametrize(
    ("command", "argument", "name"),
    [
        ("export", "filepath", "--output"),
        ("export", "runtime", "--runtime-dir"),
        ("export", "data", "--dataset"),
        ("export", "serving", "--name"),
        ("evaluate", "groups", "--metrics"),
        ("evaluate", "subject", "SOURCE"),
        ("evaluate", "data", "--dataset"),
        ("generate", "preset", "SOURCE"),
        ("transfer-style", "preset", "SOURCE"),
        ("presets", "source", "NAME"),
        ("presets", "preset", "NAME"),
        ("doctor", "run_folder", "RUN"),
        ("report", "run_folder", "RUN"),
    ],
)
def test_an_argument_of_another_name_is_mapped(command, argument, name):
    assert COMMANDS[command].name_of(argument, context_of(command)) == name
    names = {shown for parameter in COMMANDS[command].params for shown in parameter.opts}
    assert name in names or name.lower() in names
    assert argument not in {parameter.name for parameter in COMMANDS[command].params}


@pytest.mark.parametrize(
    ("words", "argument", "name"),
    [
        ("", "networks.latent_dim", "--set networks.latent_dim"),
        ("", "recipe.networks.condition", "--set networks.condition"),
        ("", "model.steps", "--set model.steps"),
        ("", "optimizer", None),
        ("", "gamma", None),
        ("--latent-dim 0", "networks.latent_dim", "--latent-dim"),
        ("--latent-dim 1 --set latent_dim=0", "networks.latent_dim", "--set networks.latent_dim"),
        ("--learning-rate 9", "optimizer.generator.learning_rate", "--learning-rate"),
        ("--learning-rate 9 --set encoder.units=9", "optimizer.encoder.learning_rate", "--learning-rate"),
        ("--set decoder.filters=0", "filters", "--set decoder.filters"),
        ("--set model.gamma=0", "gamma", "--set model.gamma"),
        ("--set gamma=0", "gamma", "--set gamma"),
        ("--set r1=0", "model.gamma", "--set model.gamma"),
        ("--config a.json", "model.gamma", "--config model.gamma"),
        ("--config a.json --set gamma=0", "model.gamma", "--set model.gamma"),
        ("--resume a", "model.gamma", None),
        ("--set dataset=a", "dataset", "--set dataset"),
        ("", "dataset", "--dataset"),
        ("", "training.num_labels", "--set training.num_labels"),
    ],
)
def test_an_option_of_the_recipe_is_told_by_what_set_it(words, argument, name):
    assert COMMANDS["train"].name_of(argument, context_of("train", *words.split())) == name


def told(*words):
    """The message of the error that a command ends with."""
    done = CliRunner().invoke(cli.cli, [str(word) for word in words])
    assert isinstance(done.exception, InputError), done.output
    assert str(done.exception).startswith(done.exception.argument)
    return str(done.exception)


def test_errors_at_the_command_line_begin_with_the_option(tmp_path):
    here = tmp_path / "a b"
    here.mkdir()
    train = ("train", "--model", "vae", "--output", tmp_path / "run")
    assert told(*train, "--dataset", here).startswith("--dataset must hold images (")
    assert told(*train, "--dataset", "dogits").startswith("--dataset must be one of mnist_small, ")
    assert told(*train, "--set", "latent_dim=0").startswith("--set networks.latent_dim must be an integer")
    (here / "config.json").write_text('{"networks": {"latent_dim": 0}}')
    assert told(*train, "--config", here / "config.json").startswith("--config networks.latent_dim must be")
    assert told(*train, "--epochs", 1, "--init", here / "none").startswith("--init must be a run folder")
    assert told("train", "--preset", "vae_mnist_smull").startswith(
        "--preset must be the name of a preset, a folder"
    )
    output = ("--output", here / "a.png")
    assert told("generate", here / "none", *output).startswith("SOURCE must be a run folder")
    assert told("generate", here, *output).startswith("SOURCE must be a preset or run")
    assert told("doctor", here).startswith("RUN must be the folder of a training")
    assert told("report", here, "--output", here / "a.txt").startswith("RUN must be the folder")
    assert told("presets", "vae_mnist_smull").startswith("NAME must be the name of a preset")
    assert told("presets", here).startswith("NAME must be a preset or run folder")
    np.savez(here / "other.npz", other=np.zeros(3))
    evaluate = ("evaluate", here / "other.npz", "--dataset", "digits")
    assert told(*evaluate).startswith(f"SOURCE {here / 'other.npz'} must hold `images`")
    np.savez(here / "images.npz", images=np.zeros((4, 8, 8, 1), "float32"))
    evaluate = ("evaluate", here / "images.npz", "--dataset", "digits", "--no-cache")
    assert told(*evaluate, "--metrics", "fid").startswith("--metrics must be one of frechet")
    assert told(*evaluate, "--num-images", 5).startswith("--num-images must be at most 4, the images given")
    assert told(*evaluate, "--features", here / "a.keras").startswith("--features must be a .keras file")


def test_the_command_line_writes_no_none(tmp_path):
    output = ("--output", tmp_path / "a.png")
    assert told("reconstruct", "vae_mnist", "--tile", 30, *output).startswith("--tile must not be given: ")


def test_a_wrong_option_is_told_in_a_short_line():
    train = ("train", "--model", "vae_gan", "--set")
    listing = "`keras-vaegan presets vae_gan_mnist_small --options` lists all options."
    beta = "--set betta must be an option of vae_gan. Did you mean 'beta'?"
    assert told(*train, "betta=3") == f"{beta} {listing}"
    assert told(*train, "zzz=3") == f"--set zzz must be an option of vae_gan. {listing}"
    assert "which has no discriminator." in told(
        "train", "--model", "vae", "--set", "discriminator.filters=9"
    )
    own = ("train", "--model", "vae_gan", "--dataset", "own", "--set")
    ambiguous = "--set factor is ambiguous: write decoder.factor or encoder.factor."
    assert told(*own, "factor=3") == ambiguous
    factors = "--set networks.encoder.factor must be equal to networks.decoder.factor; received 16 and 4."
    assert told(*own, "encoder.factor=16").startswith(factors)
    listed = CliRunner().invoke(cli.cli, ["presets", "vae_gan_mnist_small", "--options"]).output
    assert {"model.beta", "training.epochs"} <= {line.split()[0] for line in listed.splitlines()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--latent-dim many", "--latent-dim must be an integer of at least 1; received 'many'."),
        ("--epochs 0", "--epochs must be an integer of at least 1; received '0'."),
        ("--epochs 9999999999", "--epochs must be an integer of at most 2147483647; received '9999999999'."),
        ("--channels 17", "--channels must be an integer from 1 to 16; received '17'."),
        ("--seed x", "--seed must be an integer from 0 to 2147483647; received 'x'."),
        ("--learning-rate x", "--learning-rate must be a number above 0; received 'x'."),
        ("--learning-rate 0", "--learning-rate must be a number above 0; received '0'."),
        ("--learning-rate nan", "--learning-rate must be a number above 0; received 'nan'."),
    ],
)
def test_a_number_out_of_its_range_is_told_in_plain_words(words, message):
    assert told("train", "--model", "vae", *words.split()) == message


def test_what_needs_no_images_is_checked_before_they_are_read(tmp_path):
    train = ("train", "--model", "vae", "--dataset", tmp_path / "none", "--output", tmp_path / "run")
    assert told(*train, "--augment", "flips").startswith("--augment must be one of")
    assert told(*train, "--init", tmp_path / "other").startswith("--init must be a run folder")
    where = ("--dataset", tmp_path / "none", "--output", tmp_path / "a.png")
    assert told("reconstruct", "vae_mnist", "--tile", 30, *where).startswith("--tile")
    assert told("interpolate", "vae_mnist", "--path", "noise", *where).startswith("--path must be linear")


def test_errors_about_data_name_the_file_and_the_mending(tmp_path):
    train = ("train", "--model", "vae", "--output", tmp_path / "run", "--dataset")
    np.save(tmp_path / "v.npy", np.zeros(5))
    vector = CliRunner().invoke(cli.cli, [str(word) for word in (*train, tmp_path / "v.npy")]).exception
    assert isinstance(vector, InputError) and vector.argument == "--dataset"
    assert str(vector).startswith("x must have the shape") and f"file {tmp_path / 'v.npy'}." in str(vector)
    x = np.random.default_rng(0).random((13, 28, 28, 1), dtype="float32")
    np.savez(tmp_path / "few.npz", x=x)
    large = told(*train, tmp_path / "few.npz", "--random-crop", 64)
    assert large.startswith("--random-crop must be at most the image_size, 28x28; received 64x64.")
    assert "--image-size" in large
    mixture = ("--set", "prior=mixture", "--set", "components=100")
    many = told(*train, tmp_path / "few.npz", *mixture)
    assert many.startswith("--set components must be at most 9,") and "(--set components=9)" in many
    np.savez(tmp_path / "six.npz", x=x[:6])
    few = told("evaluate", "vae_mnist", "--dataset", tmp_path / "six.npz", "--no-cache")
    assert few.startswith("--dataset must hold at least 2 images in its test split; received 1.")
    np.save(tmp_path / "codes.npy", np.zeros((10, 3)))
    decode = told("decode", "vae_mnist", "--codes", tmp_path / "codes.npy", "--output", tmp_path / "a.png")
    assert decode.startswith("--codes must be codes of shape") and decode.endswith("received (10, 3).")


def test_a_configuration_that_is_no_text_of_its_kind_is_told(tmp_path):
    train = ("train", "--model", "vae", "--config")
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "a.toml").write_text("hello")
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    assert "it is no JSON (" in told(*train, tmp_path / "a.txt")
    assert "it is no TOML (" in told(*train, tmp_path / "a.toml")
    assert "it is no text in UTF-8" in told(*train, tmp_path / "a.png")


def test_a_run_that_has_not_finished_says_how_to_go_on(tmp_path):
    facts = {"model": "vae", "dataset": "digits", "recipe": {}}
    generate = ("generate", tmp_path, "--output", tmp_path / "a.png")
    (tmp_path / "metadata.json").write_text(json.dumps(facts))
    assert f"keras-vaegan train --resume {tmp_path}" in told(*generate)
    (tmp_path / "metadata.json").write_text(json.dumps(facts | {"finished": True}))
    assert "has no config.json" in told(*generate)
    (tmp_path / "metadata.json").unlink()
    (tmp_path / "begun.json").write_text("{}")
    assert "has not. If it runs no more, continue it" in told(*generate)
