"""Exports: they compute what the run's network computes, without this code, and nothing else is overwritten."""

import dataclasses
import functools
import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.numpy
from hypothesis import given, settings
from PIL import Image

import networks
import runs
import test_configs
import test_model
from cnn import losses, registry
from cnn.api import export
from cnn.cli.commands import CHOICES
from cnn.config.config import ConfigError
from cnn.config.resolve import resolve as resolve_resolve
from cnn.export import Trained, agreement, artefact, onnx_graph, safetensors_file, stablehlo
from cnn.layers.base import OnnxGraph
from cnn.layers.dense import Dense, Flatten
from cnn.model import summary
from cnn.model.classifier import flatten
from cnn.model.network import apply

pytestmark = pytest.mark.slow  # they train runs

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "export.md").read_text()
SIZES = (1, 7, 128)
SECTIONS = {
    **runs.SECTIONS,
    "model": {
        "layers": "conv(8, 3, padding='same') | batch_norm | relu | max_pool(2) | "
        "flatten | dropout(0.5) | dense(classes) | softmax"
    },
    "train": {"epochs": 2, "batch_size": 100, "average": "ema(0.9)"},
}


def trained(values, **changes):
    """Returns a network with random weights, none of them trivial."""
    variables = networks.variables(values.layers, values.data.image_shape)
    classes = tuple(f"class {n}" for n in range(values.data.classes))
    return Trained(values, networks.make_classifier(values, variables), classes, 0, "last", **changes)


def resolve(text, shape=(9, 8, 6), **sections):
    data = {"name": "tiny", "image_shape": shape, "classes": 3, "mean": [0.4] * shape[2], "std": [0.3] * shape[2]}
    optimizer = {"name": "sgd", "learning_rate": 0.1}
    return resolve_resolve({"model": {"layers": text}, "data": data, "optimizer": optimizer, **sections})


def of_layers(network, shape):
    """Returns a network of these layers that ends in three classes."""
    network = (*network, *([Flatten()] if len(networks.network_output(network, shape)) == 3 else []))
    network = (*network, Dense(3))
    values = resolve("flatten | dense(3)", shape)
    return trained(dataclasses.replace(values, layers=network, rows=summary.trace(network, shape)))


def logits_of(network, images):
    """Returns what the layers, one by one, make of pictures, in float32."""

    @functools.partial(networks.jit)
    def logits(variables, images):
        standardised = network.classifier.preprocess(images)
        return apply(network.values.layers, variables, standardised, platform="gpu")

    return np.asarray(logits(network.variables, jnp.asarray(images)))


def check_onnx(network, sizes=SIZES, alike=False):
    """Compares ONNX Runtime's probabilities with ours, for several sizes of a batch.

    Pictures must not look all `alike` to the network, but to one that was drawn: what normalises single numbers, say.
    """
    proto = onnx_graph.build(network)
    onnx.checker.check_model(proto, full_check=True)
    run = onnx_graph.runner(proto.SerializeToString())
    images = agreement.drawn(network, max(sizes))
    logits = logits_of(network, images)
    assert np.isfinite(logits).all()
    assert alike or (logits.std(axis=0) > 1e-4).any(), "pictures that all look alike show nothing"
    for size in sizes:
        found = run(images[:size])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, losses.softmax(logits[:size]), rtol=0, atol=1e-5)


LAYERS = [
    "conv(5, (3, 1)) | flatten",
    "conv(5, 3, strides=2) | flatten",
    "conv(5, (4, 3), strides=(2, 3), padding='same') | flatten",
    "conv(4, 2, dilation=(2, 3)) | flatten",
    "conv(4, 3, dilation=(3, 1), strides=2, padding='same', use_bias=False) | flatten",
    "conv(4, 3, groups=2) | conv(8, 3, groups=4, use_bias=False) | flatten",
    "max_pool(2) | flatten",
    "max_pool((3, 2), strides=(2, 3), padding='same') | flatten",
    "avg_pool((2, 3), strides=1) | flatten",
    "avg_pool((4, 3), strides=(3, 2), padding='same') | flatten",
    "max_pool(1, strides=3, padding='same') | avg_pool(2) | flatten",
    "global_avg_pool",
    "global_max_pool",
    *(f"conv(6, 3) | {name} | flatten" for name in ("relu", "gelu", "silu", "tanh", "sigmoid")),
    *(f"conv(6, 3) | {name} | flatten" for name in ("relu6", "leaky_relu(0.2)", "elu(0.5)", "hard_sigmoid")),
    "conv(6, 3) | scale(2) | hard_swish | flatten | scale(0.5)",
    "conv(5, 3, padding=1) | conv(5, (2, 3), strides=2, padding=((1, 0), (2, 1))) | flatten",
    "max_pool(3, strides=2, padding=1) | avg_pool((3, 2), strides=1, padding=((1, 2), (0, 1))) | flatten",
    "depthwise(3, 2, padding=1) | depthwise(3, strides=2, use_bias=False) | flatten",
    "layer_norm | flatten | layer_norm(epsilon=0.1)",
    "local_response_norm(3, k=1, alpha=0.5) | flatten | local_response_norm(5, alpha=0.2)",
    "adaptive_avg_pool((3, 5)) | adaptive_avg_pool((3, 7)) | flatten",
    "upsample(2) | upsample((1, 3), 'bilinear') | flatten",
    "concat(identity, conv(4, 3, padding=1) | relu, max_pool(3, 1, padding=1)) | flatten",
    "concat(flatten | dense(4), global_avg_pool) | residual(drop_path(0.5))",
    "multiply(conv(6, 1), global_avg_pool | dense(6) | sigmoid, identity) | flatten",
    "multiply(flatten | dense(4), flatten | dense(4))",
    "conv(6, 3) | batch_norm | flatten | batch_norm(epsilon=0.1)",
    "group_norm(3) | flatten | group_norm(2, epsilon=0.1)",
    "residual(conv(6, 3, padding='same') | relu) | flatten",
    "residual(conv(4, 3, strides=2, padding='same') | residual(tanh), shortcut=conv(4, 1, strides=2)) | flatten",
    "dropout(0.5) | flatten | dense(4, use_bias=False) | dropout(0.1)",
]


@pytest.mark.slow
@pytest.mark.parametrize("text", LAYERS)
def test_every_layer_and_option_is_the_same_in_onnx(text):
    check_onnx(trained(resolve(f"{text} | dense(classes) | softmax")))


def test_the_layers_above_are_all_there_are():
    named = set(re.findall(r"[a-z_0-9]+", " ".join(LAYERS)))
    assert set(registry.LAYERS) - named == {"softmax", "dense"} - named


def test_a_layer_without_its_line_says_where_it_goes():
    with pytest.raises(
        ConfigError,
        match=r"^--format: onnx has no operators yet for the layer strange\. Give its class Str",
    ):
        onnx_graph.add(OnnxGraph(), [test_model.Strange()], {}, (4, 4, 1), "images")


def test_a_network_of_all_layers_is_the_same_in_onnx():
    check_onnx(trained(resolve(test_model.EVERYTHING, (11, 13, 4))))


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(test_model.networks_on_images())
def test_random_networks_are_the_same_in_onnx(case):
    check_onnx(of_layers(*case), sizes=(1, 3), alike=True)


@pytest.mark.thorough(6)
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(test_configs.PARAMETERS))  # the largest with fewer of the same pieces
def test_every_config_is_the_same_in_every_format(name):
    network = trained(test_configs.load(name, test_configs.CHANGES.get(name, ())))
    check_onnx(network)
    assert stablehlo.write(network).about["difference"] <= 1e-5
    found = safetensors.numpy.load(safetensors_file.write(network).content)
    arrays = flatten(network.variables)
    assert found.keys() == arrays.keys()
    assert all(found[name].tobytes() == np.asarray(array).tobytes() for name, array in arrays.items())


@pytest.mark.slow
def test_every_layer_is_the_same_in_stablehlo_and_in_evaluation():
    network = trained(resolve(test_model.EVERYTHING, (11, 13, 4)))
    made = stablehlo.write(network)
    assert made.about["difference"] <= 1e-5
    exported = jax.export.deserialize(bytearray(made.content))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    images = agreement.drawn(network, 128)
    found = networks.jit(exported.call)(images)
    np.testing.assert_allclose(found, losses.softmax(logits_of(network, images)), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_stablehlo_takes_any_number_of_pictures_as_float32_too():
    network = trained(resolve("conv(4, 3) | relu | global_max_pool | dense(classes)"), intensities="float32")
    run = networks.jit(jax.export.deserialize(bytearray(stablehlo.write(network).content)).call)
    for size in SIZES:
        images = agreement.drawn(network, size)
        assert images.dtype == np.float32 and (images % 1).any()
        np.testing.assert_allclose(run(images), losses.softmax(logits_of(network, images)), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="uint8"):
        run(images.astype(np.uint8))
    with pytest.raises(ValueError, match="8"):
        run(images[:, 1:])


def test_a_network_that_computes_something_else_is_refused():
    network = trained(resolve("flatten | dense(classes)"))
    run = onnx_graph.runner(onnx_graph.build(network).SerializeToString())
    assert agreement.check(network, run) <= 1e-5
    for wrong in (
        lambda images: run(images) + 1e-4,
        lambda images: run(images)[:1],
        lambda images: run(images) * np.nan,
    ):
        with pytest.raises(FloatingPointError, match=r"^--format: the export differs from this software's own"):
            agreement.check(network, wrong)


def test_a_network_that_is_too_large_for_the_formats_is_refused(monkeypatch):
    network = trained(resolve("flatten | dense(classes)"))
    artefact.check_size(network)
    monkeypatch.setattr(artefact, "LARGEST", 4 * (9 * 8 * 6 + 1) * 3 - 1)
    with pytest.raises(ConfigError, match=r"^--format: must hold the weights in .* bytes, got 5,196. Use a smaller"):
        artefact.check_size(network)


@pytest.mark.slow
@pytest.mark.parametrize("exporter", [onnx_graph, stablehlo])
def test_a_run_in_bfloat16_is_exported_in_float32_and_that_is_said(exporter):
    values = resolve("flatten | dense(4) | gelu | dense(classes)", train={"compute_dtype": "bfloat16"})
    made = exporter.write(trained(values))
    assert made.about["difference"] <= 1e-5
    assert made.said[0].startswith("computes in float32; the run, and predict, compute in bfloat16")
    assert "bfloat16" not in " ".join(exporter.write(trained(resolve("flatten | dense(classes)"))).said)


def start(workdir, *arguments):
    return runs.start("export", f"--workdir={workdir}", *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("exporter", [onnx_graph, stablehlo])
def test_a_run_that_averages_over_views_is_exported_without_them_and_that_is_said(exporter):
    values = resolve("flatten | dense(4) | dense(classes)", eval={"views": "flip"})
    made = exporter.write(trained(values))
    assert made.said[0] == ("sees each picture as it is, without eval.views=flip, over which predict averages")
    assert made.about["left_out_views"] == "flip"
    assert "left_out_views" not in exporter.write(trained(resolve("flatten | dense(classes)"))).about


def test_the_formats_are_those_of_the_flag():
    assert tuple(export.FORMATS) == CHOICES["format"]


def test_an_export_says_what_it_is_and_may_be_written_again(finished, tmp_path, capsys):
    path = tmp_path / "new" / "net.onnx"
    assert start(finished, "--format=onnx", f"--out={path}") == 0
    said = capsys.readouterr().out
    about = json.loads(path.with_name("net.onnx.json").read_text())
    assert said.startswith(f"{path}: onnx, {path.stat().st_size:,} bytes, step 36, last weights\n")
    assert re.search(
        r"checked by onnx.checker, and on ONNX Runtime .*: probabilities differ .* by at most \de-\d+\n", said
    )
    assert about["classes"] == [str(n) for n in range(10)]
    assert about["input"]["shape"] == ["batch", 8, 8, 1]
    assert (about["step"], about["weights"], about["format"]) == (36, "last", "onnx")
    session = onnxruntime.InferenceSession(path)
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == about["classes"]
    assert session.get_inputs()[0].type == "tensor(uint8)"
    before = path.read_bytes()

    assert start(finished, "--format=onnx", f"--out={path}", "--input=float32") == 0
    assert onnxruntime.InferenceSession(path).get_inputs()[0].type == "tensor(float)"
    # As if the process had been killed before it replaced the network.
    path.write_bytes(before)
    assert start(finished, "--format=onnx", f"--out={path}") == 0
    assert path.read_bytes() == before
    assert {entry.name for entry in path.parent.iterdir()} == {"net.onnx", "net.onnx.json"}


@pytest.mark.parametrize("content", [b"mine", None])
def test_what_is_no_export_is_not_overwritten(finished, tmp_path, capsys, content):
    path = tmp_path / "net.onnx"
    beside = tmp_path / "net.onnx.json"
    if content:
        path.write_bytes(content)
        beside.write_text('{"made_by": "cnn export", "sha256": "0"}')
    else:
        beside.write_text("[1]")
    before = beside.read_text()
    assert start(finished, "--format=onnx", f"--out={path}") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"--out: {path if content else beside}") and said.count("\n") == 1
    assert (path.read_bytes() if content else not path.exists()) == (content or True)
    assert beside.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "--format: is missing. Write --format=stablehlo or --format=onnx or --format=safetensors\n"),
        (["--format=onx"], 2, "--format: must be one of stablehlo, onnx, safetensors"),
        (
            ["--format=safetensors", "--input=float32"],
            2,
            "--input: is for files that take pictures, got 'float32' with --format=safetensors, which holds arrays "
            "alone. Leave it out\n",
        ),
        (["--format=onnx", "--input=int8"], 2, "--input: must be one of uint8, float32, got 'int8'\n"),
        (["--format=onnx", "--out=."], 2, "--out: . is a folder. Name a file, such as model.onnx\n"),
        (["--format=onnx", "--weights=ema"], 2, '--weights: "ema" but the run kept no average. '),
        (["--format=onnx", "--out=/dev/null/net.onnx"], 74, "/dev/null"),
    ],
)
def test_a_mistake_is_one_line(finished, capsys, arguments, code, message):
    assert start(finished, *arguments) == code
    said = capsys.readouterr().err
    assert said.startswith(message) and said.count("\n") == 1


def test_a_run_without_a_checkpoint_is_one_line(finished, tmp_path, capsys):
    (tmp_path / "config.json").write_bytes((finished / "config.json").read_bytes())
    assert start(tmp_path, "--format=onnx") == 2
    assert capsys.readouterr().err == f"--workdir: {tmp_path} has no checkpoint yet. Train it first.\n"
    assert not (tmp_path / "exports").exists()


def test_a_missing_package_is_one_line_with_what_to_install(finished, capsys, monkeypatch):
    monkeypatch.setitem(export.FORMATS, "onnx", export.FORMATS["onnx"]._replace(packages=("onnx", "no_such_onnx")))
    assert start(finished, "--format=onnx") == 2
    assert capsys.readouterr().err == (
        "--format: onnx needs packages that are not installed, got none of the name no_such_onnx. "
        "Install: pip install no_such_onnx\n"
    )


def test_a_disk_that_takes_no_more_leaves_nothing_half_written(finished, tmp_path, capsys):
    path = tmp_path / "net.onnx"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))
    try:
        code = start(finished, "--format=onnx", f"--out={path}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capsys.readouterr().err
    assert code == 74
    assert said == f"{path}: File too large\n"
    assert not path.exists()
    assert start(finished, "--format=onnx", f"--out={path}") == 0


@pytest.fixture(scope="module")
def pictured(tmp_path_factory):
    """A finished run, pictures of its data set, and what `predict` says of each."""
    folder = tmp_path_factory.mktemp("pictured")
    assert runs.train(folder / "run", sections=SECTIONS) == 0
    from sklearn.datasets import load_digits

    images = (load_digits().images[:9] * 255 / 16).astype(np.uint8)[..., None]
    np.save(folder / "pictures.npy", images)
    for n, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(folder / f"{n}.png")
    return folder


def predicted(folder, capsys, *arguments):
    files = [folder / f"{n}.png" for n in range(9)]
    capsys.readouterr()
    assert runs.start("predict", f"--workdir={folder / 'run'}", "--json", *arguments, *files) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [(record["class"], record["probability"]) for record in records]


def script(first_word, folder):
    """Writes the script of this name from docs/export.md; returns how to run it where this code cannot be imported."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    source = next(block for block in blocks if block.startswith(f"# {first_word}"))
    (folder / first_word).write_text(source)
    assert "cnn" not in source and len(source.splitlines()) <= 32
    return [sys.executable, "-I", first_word]


def output(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def same(lines, expected):
    found = [(line.split()[-2], float(line.split()[-1])) for line in lines.splitlines()]
    assert [name for name, _ in found] == [name for name, _ in expected]
    np.testing.assert_allclose([share for _, share in found], [share for _, share in expected], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_the_scripts_of_the_docs_say_what_predict_says_without_this_code(pictured, capsys):
    run = pictured / "run"
    alone = subprocess.run([sys.executable, "-I", "-c", "import cnn"], cwd=pictured, capture_output=True, text=True)
    assert "No module named 'cnn'" in alone.stderr
    expected = predicted(pictured, capsys)
    assert len({name for name, _ in expected}) > 3
    assert start(run, "--format=stablehlo") == 0
    assert "on cpu: probabilities differ" in (said := capsys.readouterr().out)
    assert "lowered for cuda and tpu, not run there" in said
    same(output([*script("serve.py", pictured), run / "exports/model.stablehlo", "pictures.npy"], pictured), expected)
    assert start(run, "--format=onnx") == 0
    names = [f"{n}.png" for n in range(9)]
    lines = output([*script("classify.py", pictured), run / "exports/model.onnx", *names], pictured)
    assert [line.split()[0] for line in lines.splitlines()] == names
    same(lines, expected)


@pytest.mark.slow
@pytest.mark.parametrize("resize", ["exact", "lanczos", "cover"])
def test_the_docs_classifier_reads_turned_deep_and_transparent_pictures_as_predict_does(tmp_path, capsys, resize):
    resized = resize != "exact"
    sections = {**SECTIONS, "data": {**SECTIONS["data"], "resize": resize}}
    sections["data"] |= {"image_shape": (12, 12, 1)} if resized else {}
    assert runs.train(tmp_path / "run", sections=sections) == 0
    shades = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    shades[0] = shades[-1] = shades[:, 0] = shades[:, -1] = 0
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(shades).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(shades.astype(np.uint16) * 257 + 3).save(tmp_path / "deep.png")
    alpha = np.random.default_rng(1).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(np.stack([shades, alpha], axis=-1), "LA").save(tmp_path / "clear.png")
    names = ["turned.jpg", "deep.png", "clear.png"]
    if resized:
        Image.fromarray(np.random.default_rng(2).integers(0, 256, (17, 40), np.uint8)).save(tmp_path / "wide.png")
        names.append("wide.png")
    assert start(tmp_path / "run", "--format=onnx") == 0
    capsys.readouterr()
    files = [tmp_path / name for name in names]
    assert runs.start("predict", f"--workdir={tmp_path / 'run'}", "--json", "--invert=no", *files) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = [(record["class"], record["probability"]) for record in records]
    classify, file = script("classify.py", tmp_path), tmp_path / "run/exports/model.onnx"
    same(output([*classify, file, *names], tmp_path), expected)
    model = onnx.load(file)
    (entry,) = (entry for entry in model.metadata_props if entry.key == "resize")
    assert entry.value == resize
    entry.key = "fit"  # as earlier versions wrote it
    onnx.save(model, tmp_path / "older.onnx")
    same(output([*classify, tmp_path / "older.onnx", *names], tmp_path), expected)


@pytest.mark.slow
def test_other_weights_go_into_a_file_of_their_own(pictured, capsys):
    run = pictured / "run"
    assert start(run, "--format=onnx", "--weights=ema") == 0
    network = onnxruntime.InferenceSession(run / "exports/model-ema.onnx")
    shares = network.run(None, {"images": np.load(pictured / "pictures.npy")})[0]
    expected = predicted(pictured, capsys, "--weights=ema")
    assert [str(row.argmax()) for row in shares] == [name for name, _ in expected]
    np.testing.assert_allclose(shares.max(axis=1), [share for _, share in expected], rtol=0, atol=1e-5)
    assert np.abs(shares.max(axis=1) - [share for _, share in predicted(pictured, capsys)]).max() > 1e-4
