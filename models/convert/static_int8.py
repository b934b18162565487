"""Quantizes a float graph to int8 in QDQ format: u8 activations, s8 weights with a scale per channel.

ReLU6 becomes the range of the quantized value. The graph takes raw pixels, U8 in NHWC: a pixel is a quantized value of
scale 1 / std and zero point mean, so the normalization of the float card costs nothing, and the input tensor has a
quarter of the bytes.

The ranges of the activations are measured with calibration pictures. Float results differ in their last bits from one
processor to another, and the scales would differ, too. Therefore each end of a range is rounded outwards to a coarse
logarithmic grid, and an end that lies so near to a grid point that those bits could matter is an error. So the output
has the same bytes on every machine, or there is none.
"""

import itertools
import math
import pathlib
import tomllib

import numpy
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from PIL import Image

# Range ends are powers of 2 ** (1 / STEPS), which widens a range by at most 9 %: an eighth of a bit of precision.
STEPS = 8
# Least distance from a grid point, in steps. Float32 results of different kernels differ by 1e-5 or less.
LEAST_MARGIN = 1e-3
# Besides the card's own crop, the four corners are measured, at these fractions of the largest square.
CORNERS = (0.875, 0.5)


def convert(source, card, pictures):
    model = onnx.load(source)
    pixels, card = card["inputs"][0], tomllib.loads(pathlib.Path(source).with_name("model.toml").read_text())
    tensors = [card["inputs"][0]["name"], *(name for node in model.graph.node for name in node.output)]
    bounds = _clip_bounds(model) | {tensors[0]: _input_bounds(card)}
    ranges = {
        name: _outwards(name, ends, bounds.get(name, (-math.inf, math.inf)))
        for name, ends in _measure(model, tensors, card, pictures).items()
    }
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        # Weights of 7 bits avoid the saturation of 16-bit sums before VNNI, but cost accuracy everywhere.
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=sorted({node.op_type for node in model.graph.node}),
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    graph = quantizer.model.model
    _take_pixels(graph.graph, card["preprocessing"], pixels)
    return graph


def _take_pixels(graph, recipe, end):
    """Replaces the float input and its quantization by an input of U8 pixels."""
    if (end["dtype"], end["shape"]) != ("U8", [-1, *reversed(recipe["size"]), 3]):
        raise ValueError(f"the card's input must be U8 in NHWC, the size that of the float model: {end}")
    if any(len(set(recipe[key])) > 1 for key in ("mean", "std")) or not recipe["mean"][0].is_integer():
        raise ValueError("only a mean and a std that all channels share, the mean an integer, become a quantization")
    first = next(
        node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == graph.input[0].name
    )
    values = {tensor.name: tensor for tensor in graph.initializer}
    scale, zero = (values[name] for name in first.input[1:])
    scale.CopyFrom(onnx.numpy_helper.from_array(numpy.float32(1 / recipe["std"][0]), scale.name))
    zero.CopyFrom(onnx.numpy_helper.from_array(numpy.uint8(recipe["mean"][0]), zero.name))
    graph.input[0].CopyFrom(
        onnx.helper.make_tensor_value_info(end["name"], onnx.TensorProto.UINT8, ["N", *end["shape"][1:]])
    )
    to_nchw = onnx.helper.make_node("Transpose", [end["name"]], list(first.output), name="to_nchw", perm=[0, 3, 1, 2])
    first.CopyFrom(to_nchw)


def _measure(model, tensors, card, pictures):
    """Returns the (min, max) of each tensor over all crops of all pictures."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    inner = [name for name in tensors if name not in (card["inputs"][0]["name"], card["outputs"][0]["name"])]
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in inner)
    options = onnxruntime.SessionOptions()
    # A single thread makes the order of additions deterministic. Without fusion every tensor exists.
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    ranges = dict.fromkeys(tensors, (0.0, 0.0))
    for batch in _crops(card, sorted(pathlib.Path(pictures).iterdir())):
        values = dict(
            zip([output.name for output in probe.graph.output], session.run(None, {tensors[0]: batch}), strict=True)
        )
        values[tensors[0]] = batch
        for name, (low, high) in ranges.items():
            ranges[name] = min(low, float(values[name].min())), max(high, float(values[name].max()))
    return ranges


def _crops(card, files):
    """Yields a tensor for each picture's crop as the card defines it, and for its corners, half of them mirrored."""
    for file in files:
        with Image.open(file) as opened:
            picture = opened.convert("RGB")
        width, height = picture.size
        side = min(width, height) * card["preprocessing"]["crop"]
        yield _tensor(card, picture, ((width - side) / 2, (height - side) / 2, side))
        for part, right, below in itertools.product(CORNERS, (0, 1), (0, 1)):
            side = min(width, height) * part
            corner = (width - side) * right, (height - side) * below, side
            yield _tensor(card, picture, corner)[..., :: -1 if right ^ below else 1].copy()


def _tensor(card, picture, square):
    recipe = card["preprocessing"]
    if (recipe["layout"], recipe["color"], recipe["filter"]) != ("NCHW", "RGB", "bicubic"):
        raise ValueError("only NCHW, RGB and bicubic are implemented here; add what the card says")
    left, top, side = square
    box = left, top, left + side, top + side
    pixels = numpy.asarray(picture.resize(recipe["size"], Image.Resampling.BICUBIC, box), numpy.float32)
    mean, deviation = (numpy.asarray(recipe[key], numpy.float32) for key in ("mean", "std"))
    return numpy.ascontiguousarray(((pixels - mean) / deviation).transpose(2, 0, 1)[None])


def _clip_bounds(model):
    """Returns the (min, max) of each Clip's output. The quantizer removes the Clip, since the range does its work."""
    scalars = (tensor for tensor in model.graph.initializer if math.prod(tensor.dims) == 1)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor).item() for tensor in scalars}
    clips = (node for node in model.graph.node if node.op_type == "Clip")
    return {clip.output[0]: tuple(constants[name] for name in clip.input[1:]) for clip in clips}


def _input_bounds(card):
    """Returns the normalized values of a black and of a white pixel."""
    mean, deviation = (numpy.asarray(card["preprocessing"][key], numpy.float32) for key in ("mean", "std"))
    return float(((0 - mean) / deviation).min()), float(((255 - mean) / deviation).max())


def _outwards(name, ends, bounds):
    """Rounds both ends of a range outwards to the grid; an end that equals a known bound stays there."""
    low, high = (end if end in bounds else math.copysign(_next_step(name, abs(end)), end) for end in ends)
    return TensorData(lowest=numpy.float32(max(low, bounds[0])), highest=numpy.float32(min(high, bounds[1])))


def _next_step(name, size):
    if size == 0:
        return 0.0
    step = math.log2(size) * STEPS
    if abs(step - round(step)) < LEAST_MARGIN:
        raise ValueError(f"{name} ends at {size}, too near to a step: change a calibration picture")
    return 2 ** (math.ceil(step) / STEPS)
