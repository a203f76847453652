"""A traced graph whose matrices are int8: ONNX Runtime multiplies those several times as fast on most processors."""

import logging
import math
from pathlib import Path

from indexes import cpu
from retrieval.encoders import onnx_session

OPERATIONS = ("MatMul", "Gemm")
LEAST = 0.5  # share of the weights that are in such matrices
MOST_FILTERS = 4  # layers of them: a transformer has one, for its patches; a network of more spends its time in them


def pays(traced: Path) -> bool:
    """Is most of a graph's weight, and of its work, in matrices?"""
    import onnx

    graph = onnx.load(traced, load_external_data=False).graph
    if sum(node.op_type == "Conv" for node in graph.node) > MOST_FILTERS:
        return False
    sizes = {weight.name: math.prod(weight.dims) for weight in graph.initializer}
    read = {name for node in graph.node if node.op_type in OPERATIONS for name in node.input}
    matrices = sum(size for name, size in sizes.items() if name in read)
    return matrices >= LEAST * max(1, sum(sizes.values()))


def write(traced: Path, graph: Path) -> bool:
    """Write the int8 form of a traced graph: weights a scale a column, what goes in scaled as it comes.

    False where ONNX Runtime cannot: of some graphs it does not find the types.

    A processor without VNNI adds products of 8 bits in 16, which overflow: there the weights have 7 bits, which costs
    no time (cosines .9998 in place of .990 on a ViT-B-32).
    """
    try:
        onnx_session.quantize(traced, graph, OPERATIONS, reduce_range=not cpu.has_vnni())
    except (RuntimeError, ValueError) as error:
        logging.getLogger(__name__).info("no int8 form: %s", error)
        return False
    return True
