"""`pfa-gate collect` and `merge`: shards measured apart are judged as one process would have judged them."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from machines import assert_same, plain, project

import pfa_gate
from pfa_gate.artifacts.moments import ShardMoments, read_moments, write_moments
from pfa_gate.cli import main
from pfa_gate.distributed.merge_shards import joinable
from pfa_gate.errors import ArtifactError
from pfa_gate.graph import Program, record_model
from pfa_gate.pipeline import trace
from pfa_gate.pipeline.run import Run
from pfa_gate.record import Probe


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("machines"))


def collected(config: Path, gate: str, shards: int) -> list[str]:
    """Every shard of a gate, collected through the command line; the files."""
    files = [str(config.parent / "shards" / f"{gate}.{i}-of-{shards}.safetensors") for i in range(1, shards + 1)]
    for number, file in enumerate(files, 1):
        if not Path(file).exists():
            turn = f"{number}/{shards}"
            assert main(["collect", str(config), "--gate", gate, "--shard", turn, "--output", file]) == 0
    return files


def merged(config: Path, files: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """Exit status and record of a merge."""
    output = config.parent / "merged"
    status = main(["merge", *files, "--config", str(config), "--output", str(output)])
    gate = read_moments(Path(files[0])).gate
    return status, json.loads((output / gate / "record.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def alone(config: Path) -> dict[str, Run]:
    gates = ("residual", "tokens", "positions", "undecided", "strict")
    return {gate: pfa_gate.run(config, gate, output=config.parent / "alone") for gate in gates}


@pytest.mark.parametrize("gate", ["residual", "tokens", "positions", "undecided"])
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_the_record_is_that_of_one_process(gate: str, shards: int, config: Path, alone: dict[str, Run]) -> None:
    """Layers with their standard errors, recipe, cut, recovery, scores, verdicts."""
    wanted = plain(alone[gate].record)
    assert any(layer["kl_stderr"] for layer in wanted["layers"])
    status, found = merged(config, collected(config, gate, shards))
    assert_same(found, wanted)
    assert status == int(any(budget["outcome"] != "kept" for budget in wanted["budgets"]))


def test_a_program_of_a_fixed_batch_leaves_out_the_same_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs two samples at a time, so the last one of each odd batch is left out, wherever the batch is run."""

    def fixed(*given: Any) -> Program:
        return replace(record_model(*given), dynamic=False)

    monkeypatch.setattr(trace, "record_model", fixed)
    mine = project(tmp_path)
    wanted = plain(pfa_gate.run(mine, "tokens", output=tmp_path / "alone").record)
    assert wanted["layers"][0]["samples"] == 4 * (8 * 36 + 4)
    assert_same(merged(mine, collected(mine, "tokens", 2))[1], wanted)


def test_the_order_of_the_files_does_not_matter(config: Path) -> None:
    files = collected(config, "residual", 3)
    _, one = merged(config, files)
    _, two = merged(config, files[::-1])
    assert one["layers"] == two["layers"]


def test_a_broken_budget_is_one(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = merged(config, collected(config, "strict", 2))
    assert status == 1
    assert {budget["id"]: budget["outcome"] for budget in found["budgets"]}["layers.kl"] == "broken"
    assert "BROKEN" in capsys.readouterr().out


def refused(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that cannot be carried out."""
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_samples_that_no_shard_or_two_shards_have() -> None:
    """Each shard is there once, and all belong together: only the count tells that samples are missing."""

    def part(shard: int, samples: int) -> tuple[str, ShardMoments]:
        return f"shard-{shard}", ShardMoments("a", shard, 2, samples, Probe(1008, "ab"), "c", "m", {}, {})

    for second in (503, 505):
        with pytest.raises(ArtifactError) as caught:
            joinable([part(1, 504), part(2, second)])
        assert str(caught.value) == (
            f"The shards hold {504 + second:,} samples, and the probe has 1,008.\n"
            "  Collect all shards again, with one config and one checkout."
        )
    assert [each.shard for each in joinable([part(2, 504), part(1, 504)])] == [1, 2]


class TestRefusals:
    @pytest.fixture
    def mine(self, tmp_path: Path) -> Path:
        return project(tmp_path)

    def ask(self, config: Path, *files: str) -> list[str]:
        return ["merge", *files, "--config", str(config), "--output", str(config.parent / "refused")]

    def test_missing_and_double_shards(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        one, two, three = collected(config, "undecided", 3)
        said = refused(self.ask(config, two), capsys)
        assert said == "Of 3 shards, 1/3, 3/3 are missing.\n  Name one file for each shard.\n"
        said = refused(self.ask(config, one, two, three, two), capsys)
        assert said == f"Shard 2/3 is there twice: {two} and {two}.\n  Name one file for each shard.\n"
        assert not (config.parent / "refused").exists()

    @pytest.mark.parametrize("gate", ["residual", "strict"])
    def test_shards_of_different_gates(self, gate: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        one, _ = collected(config, "undecided", 2)
        _, two = collected(config, gate, 2)
        assert f"{one} and {two} differ in their gate." in refused(self.ask(config, one, two), capsys)

    def test_different_numbers_of_shards(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        one, _ = collected(config, "undecided", 2)
        other = collected(config, "undecided", 3)[1]
        assert "differ in their number of shards." in refused(self.ask(config, one, other), capsys)

    def test_another_config_model_or_probe(
        self, mine: Path, torch_python: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        files = collected(mine, "undecided", 2)
        text, code = mine.read_text(), (mine.parent / "net.py").read_text()
        mine.write_text(text.replace("batch_size: 37", "batch_size: 36"))
        assert "were collected with another config than" in refused(self.ask(mine, *files), capsys)
        mine.write_text(text)
        (mine.parent / "net.py").write_text(code.replace("seed=0", "seed=1"))
        run = [torch_python, "-c", "import sys; from pfa_gate.cli import main; sys.exit(main())"]
        done = subprocess.run([*run, *self.ask(mine, *files)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert "measured on another model" in done.stderr
        (mine.parent / "net.py").write_text(code.replace("manual_seed(0)), torch", "manual_seed(1)), torch"))
        done = subprocess.run([*run, *self.ask(mine, *files)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert "measured on another probe: 301 samples" in done.stderr
        assert "pfa.yaml:" in done.stderr

    def test_limits_may_change_after_collecting(self, mine: Path) -> None:
        files = collected(mine, "undecided", 2)
        mine.write_text(mine.read_text().replace("kl: 1.0", "kl: 0.0"))
        status, found = merged(mine, files)
        assert (status, {each["outcome"] for each in found["budgets"][1:2]}) == (1, {"broken"})

    def test_other_versions(self, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        files = []
        for file in collected(config, "undecided", 2):
            part = read_moments(Path(file))
            files.append(str(tmp_path / Path(file).name))
            write_moments(Path(files[-1]), replace(part, versions={**part.versions, "torch": "1.0"}))
        assert "were collected with torch 1.0; here it is" in refused(self.ask(config, *files), capsys)

    def test_a_file_that_is_no_shard(self, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        weights = config.parent / ".pfa"
        weights.mkdir(exist_ok=True)
        from safetensors.numpy import save_file  # noqa: PLC0415

        foreign = tmp_path / "weights.safetensors"
        save_file({}, foreign)
        assert "was not written by pfa-gate collect" in refused(self.ask(config, str(foreign)), capsys)
        assert "there is no such file" in refused(self.ask(config, "gone.safetensors"), capsys)
        foreign.write_text("a: b\n")
        assert "is damaged, or not a safetensors file" in refused(self.ask(config, str(foreign)), capsys)

    @pytest.mark.parametrize("place", [0.1, 0.3, 0.6, 0.99])
    def test_a_torn_or_changed_file(
        self, place: float, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        one, two = collected(config, "undecided", 2)
        whole, copy = Path(one).read_bytes(), tmp_path / "copy.safetensors"
        at = int(place * len(whole))
        copy.write_bytes(whole[:at])
        assert "is damaged, or not a safetensors file" in refused(self.ask(config, str(copy), two), capsys)
        copy.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert "copy.safetensors" in refused(self.ask(config, str(copy), two), capsys)

    @pytest.mark.parametrize("turn", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", ""])
    def test_what_names_no_shard(self, turn: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        output = config.parent / "none.safetensors"
        arguments = ["collect", str(config), "--gate", "undecided", f"--shard={turn}", "--output", str(output)]
        assert f"'{turn}' names no shard." in refused(arguments, capsys)
        assert not output.exists()

    def test_more_shards_than_batches(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        output = config.parent / "none.safetensors"
        arguments = ["collect", str(config), "--gate", "undecided", "--shard", "10/10", "--output", str(output)]
        assert "Shard 10/10 has no sample to measure: the probe has 9 batches." in refused(arguments, capsys)
        assert not output.exists()

    def test_a_folder_that_cannot_be_written(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        output = config / "below.safetensors"
        arguments = ["collect", str(config), "--gate", "undecided", "--shard", "1/2", "--output", str(output)]
        assert "The moments cannot be written to" in refused(arguments, capsys)


def test_a_file_comes_back_as_it_was_written(config: Path, tmp_path: Path) -> None:
    part = read_moments(Path(collected(config, "residual", 2)[0]))
    assert isinstance(part, ShardMoments)
    write_moments(tmp_path / "new" / "again.safetensors", part)
    assert os.listdir(tmp_path / "new") == ["again.safetensors"]
    again = read_moments(tmp_path / "new" / "again.safetensors")
    assert {key: value for key, value in vars(again).items() if key != "moments"} == {
        key: value for key, value in vars(part).items() if key != "moments"
    }
    for place, shards in part.moments.items():
        for one, two in zip(shards, again.moments[place], strict=True):
            assert (one.count, one.mean.tolist()) == (two.count, two.mean.tolist())
            assert (one.scatter == two.scatter).all()
