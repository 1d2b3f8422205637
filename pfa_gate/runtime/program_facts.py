"""What is in a .pt2 file: torch.export writes its program as JSON into an archive. Torch is not imported."""

import ast
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

from pfa_gate.record import ZeroCount
from pfa_gate.record.axis_names import axis_name
from pfa_gate.runtime.file_facts import FilePort, Size, by_kind

# Numbers of the schema that torch.export writes.
_DTYPES = {
    1: ("uint8", 1), 2: ("int8", 1), 3: ("int16", 2), 4: ("int32", 4), 5: ("int64", 8), 6: ("float16", 2),
    7: ("float32", 4), 8: ("float64", 8), 9: ("complex32", 4), 10: ("complex64", 8), 11: ("complex128", 16),
    12: ("bool", 1), 13: ("bfloat16", 2), 28: ("uint16", 2), 29: ("float8_e4m3fn", 1), 30: ("float8_e5m2", 1),
    34: ("uint32", 4), 35: ("uint64", 8),
}  # fmt: skip
_SIGNS = {"Add": " + ", "Mul": "*", "FloorDiv": "//", "CleanDiv": "//"}


def program_facts(content: bytes) -> dict[str, Any]:
    """Facts of a program of torch.export.

    Raises:
        ValueError: the archive holds none.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        program = _member(archive, r"models/[^/]+\.json")
        weights = _member(archive, r"data/weights/[^/]+_weights_config\.json")["config"]
        constants = _member(archive, r"data/constants/[^/]+_constants_config\.json")["config"]
        zeros = _zeros(archive, weights)
    graph, values = program["graph_module"]["graph"], program["graph_module"]["graph"]["tensor_values"]
    names = _sizes_by_name(program, values)
    stored = {name: _elements(entry["tensor_meta"]) for name, entry in (weights | constants).items()
              if entry.get("tensor_meta")}  # fmt: skip
    trained = [name for name, entry in weights.items() if entry["is_param"] and name in stored]
    # Tensors that share their bytes stand in the archive once.
    paths = {entry["path_name"]: stored[name] for name, entry in (weights | constants).items() if name in stored}
    ranges = {names[key]: (entry["min_val"], entry["max_val"]) for key, entry in program["range_constraints"].items()
              if key in names}  # fmt: skip
    return {
        "form": "pt2",
        "producer": f"torch {program.get('torch_version', '')}".strip(),
        "opset": dict(program["opset_version"]),
        "inputs": tuple(_port(name, values, names) for name in _user_inputs(program)),
        "outputs": tuple(_outputs(program, values, names)),
        "ranges": ranges,
        "operators": dict(_ordered(graph["nodes"])),
        "parameters": sum({weights[name]["path_name"]: stored[name][1] for name in trained}.values()),
        "bytes": sum(size for _, _, size in paths.values()),
        "stored": by_kind(paths.values()),
        "zeros": zeros,
    }


def _zeros(archive: zipfile.ZipFile, weights: Mapping[str, Any]) -> dict[str, ZeroCount]:
    """The zeros of the trained weights that lie in the archive as they are; NumPy counts them."""
    try:
        from pfa_gate.runtime.zero_counts import zeros_of_tensors  # noqa: PLC0415  all else needs no NumPy

        return zeros_of_tensors(dict(_plain(archive, weights)))
    except ImportError:
        return {}


def _plain(archive: zipfile.ZipFile, weights: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, list[int], bytes]]]:
    for name, entry in weights.items():
        meta = entry.get("tensor_meta")
        if not meta or not entry["is_param"] or entry.get("use_pickle"):
            continue
        shape, strides = ([each["as_int"] for each in meta[key]] for key in ("sizes", "strides"))
        straight = [prod(shape[at + 1 :]) for at in range(len(shape))]
        if strides == straight and not meta["storage_offset"]["as_int"]:
            (path,) = [each for each in archive.namelist() if each.endswith(f"data/weights/{entry['path_name']}")]
            dtype, _, size = _elements(meta)
            yield name, (dtype, shape, archive.read(path)[:size])


def _member(archive: zipfile.ZipFile, pattern: str) -> Any:
    found = [name for name in archive.namelist() if re.search(rf"(^|/){pattern}$", name)]
    if len(found) != 1:
        kind = "a checkpoint or an archive of another kind" if not found else "several programs"
        raise ValueError(f"it holds {kind}")
    return json.loads(archive.read(found[0]))


def _elements(meta: Mapping[str, Any]) -> tuple[str, int, int]:
    dtype, width = _DTYPES.get(meta["dtype"], ("unknown", 0))
    count = prod(size["as_int"] for size in meta["sizes"])
    return dtype, count, count * width


def _user_inputs(program: Mapping[str, Any]) -> list[str]:
    specs = program["graph_module"]["signature"]["input_specs"]
    return [arg["as_tensor"]["name"] for spec in specs if (arg := spec.get("user_input", {}).get("arg", {}))
            and "as_tensor" in arg]  # fmt: skip


def _outputs(program: Mapping[str, Any], values: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[FilePort]:
    specs = program["graph_module"]["signature"]["output_specs"]
    given = [arg["as_tensor"]["name"] for spec in specs if (arg := spec.get("user_output", {}).get("arg", {}))
             and "as_tensor" in arg]  # fmt: skip
    keys = _keys_of_output(program)
    for place, name in enumerate(given):
        port = _port(name, values, names)
        yield FilePort(keys[place], port.dtype, port.shape) if len(keys) == len(given) else port


def _keys_of_output(program: Mapping[str, Any]) -> list[str]:
    """The keys of a mapping that the model gives; empty where it gives another structure."""
    signature = program["graph_module"]["module_call_graph"][0]["signature"] or {}
    structure = json.loads(signature.get("out_spec", "[1, {}]"))[1]
    if structure.get("type") != "builtins.dict":
        return []
    keys = json.loads(structure["context"])
    return [str(key) for key in keys] if all(child["type"] is None for child in structure["children_spec"]) else []


def _port(name: str, values: Mapping[str, Any], names: Mapping[str, str]) -> FilePort:
    meta = values[name]
    shape = tuple(_size(size, names) for size in meta["sizes"])
    return FilePort(name, _DTYPES.get(meta["dtype"], ("unknown", 0))[0], shape)


def _size(size: Mapping[str, Any], names: Mapping[str, str]) -> Size:
    return int(size["as_int"]) if "as_int" in size else _formula(size["as_expr"]["expr_str"], names)


def _sizes_by_name(program: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, str]:
    """The exporter's own words for free sizes, and names for people; two that need not be equal get different ones."""
    names: dict[str, str] = {}
    for given in _user_inputs(program):
        sizes = values[given]["sizes"]
        for axis, size in enumerate(sizes):
            symbol = re.match(r"Symbol\('(\w+)'", size.get("as_expr", {}).get("expr_str", ""))
            if symbol and symbol[1] not in names:
                word = axis_name(len(sizes), axis)
                taken = sum(other.rstrip("_0123456789") == word for other in names.values())
                names[symbol[1]] = f"{word}_{taken + 1}" if taken else word
    return names


def _formula(text: str, names: Mapping[str, str]) -> str:
    """A size as people write it.

    Example:
        >>> _formula("Add(Symbol('s16', positive=True, integer=True), Integer(-2))", {"s16": "height"})
        'height + -2'
    """
    return _written(ast.parse(text, mode="eval").body, names)


def _written(node: ast.expr, names: Mapping[str, str]) -> str:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in ("Symbol", "Integer"):
            value = ast.literal_eval(node.args[0])
            return names.get(str(value), str(value))
        parts = [_written(each, names) for each in node.args]
        sign = _SIGNS.get(node.func.id)
        return sign.join(parts) if sign else f"{node.func.id.lower()}({', '.join(parts)})"
    return ast.unparse(node)


def _ordered(nodes: list[Mapping[str, Any]]) -> list[tuple[str, int]]:
    names = Counter(re.sub(r"^torch\.ops\.(aten\.)?", "", each["target"]).removesuffix(".default") for each in nodes)
    return sorted(names.items(), key=lambda each: (-each[1], each[0]))
