"""`keras-vaegan export`: a model as files that run without Keras."""

import pathlib

import click

from keras_vaegan.cli import options
from keras_vaegan.cli.options import DATA, MODEL, GroupedCommand, option
from keras_vaegan.typing import EXPORT_PRECISIONS

FORMATS = ("saved_model", "tflite", "onnx", "web")
ARGUMENTS = {
    "preset": "SOURCE",
    "filepath": "--output",
    "data": "--dataset",
    "serving": "--name",
    "runtime": "--runtime-dir",
}


@click.command(cls=GroupedCommand, arguments=ARGUMENTS)
@click.argument("source")
@option("--format", type=options.Name("--format", FORMATS), default="saved_model", help="Write this format.")
@option(
    "--output",
    type=options.Output(folder=True),
    required=True,
    help="Write a folder, or a .tflite or .onnx file.",
)
@option("--overwrite", is_flag=True, help="Replace what is there; of a served model, the last version.")
@option(
    "--signature",
    default=None,
    show_default="all of them, or generate in a single file",
    group=MODEL,
    help="Write this function alone.",
)
@option(
    "--precision",
    type=options.Name("--precision", EXPORT_PRECISIONS),
    default="float32",
    group=MODEL,
    help="Store a TFLite file's weights in this. int8 also computes in it.",
)
@option(
    "--name",
    default=None,
    show_default="that of SOURCE",
    group=MODEL,
    help="Name the model for TensorFlow Serving.",
)
@options.data_options(
    "the one SOURCE was trained on",
    "Measure the ranges of int8 on these images.",
    "Fix height and width, for a model of any size. Images for int8 are scaled to it.",
)
@option("--num-images", type=options.Count(1), default=200, group=DATA, help="Measure on this many images.")
@option(
    "--runtime-dir",
    type=click.Path(path_type=pathlib.Path),
    default=None,
    show_default="npm fetches it, once",
    help="Take ONNX Runtime Web from this folder.",
)
@options.backend
@click.pass_context
def export(
    context,
    source,
    format,
    output,
    overwrite,
    signature,
    precision,
    name,
    dataset,
    image_size,
    value_range,
    num_images,
    runtime_dir,
    **where,
):
    """Write SOURCE, a run folder, a preset or a .keras file, so that it runs without Keras.

    Formats: saved_model, for TensorFlow Serving: OUTPUT/1, then OUTPUT/2 and so on, with a README on how to
    start it; tflite, for phones; onnx; web, a page that opens from disk. Each holds functions (generate,
    encode, decode, reconstruct, and what else the model can) with named inputs and outputs. Height and
    width are open if the model takes images of any size, but for web.
    """
    options.load_keras()
    from keras_vaegan.export import export as export_model
    from keras_vaegan.presets import load_source

    model, metadata = load_source(source)
    data, size = None, image_size
    if precision == "int8" and format == "tflite":
        known = options.with_range_of(model, metadata)
        found = options.load_data_for(
            model.image_shape, known, dataset, image_size, value_range, model.num_classes, **where
        )
        size = options.free_size(model, image_size, own_files=False)
        seen = options.as_seen(found, model.image_shape, known, size)
        images, labels = (None if part is None else part[:num_images] for part in seen.train)
        data = images, model.labels_of(labels, images)
    title = name if name is not None else options.plain_name(source)
    made = export_model(
        model,
        output,
        format,
        signature=signature,
        precision=precision,
        data=data,
        overwrite=overwrite,
        imports=context.meta.get(options.IMPORTS, ()),
        serving=title if format == "saved_model" else None,
        runtime=runtime_dir,
        facts={"name": title, "class_names": metadata.get("class_names")},
        image_size=size,
    )
    options.echo(f"wrote {made}")
