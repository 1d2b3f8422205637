"""A hundred architectures and more at half the filters of every free group: none wrong, all far smaller."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from elsewhere import Elsewhere
from judging import ZOO, judge
from transformers import WhisperConfig, WhisperForConditionalGeneration

from pfa_gate.artifacts.export import ExportFailedError
from pfa_gate.artifacts.program import program_of
from pfa_gate.errors import TraceError
from pfa_gate.graph import inputs_of, trace

# One of each kind of structure; the rest are nightly.
BY_DEFAULT = frozenset(
    """
    resnet56_a resnet50 densenet inception squeezenet unet shufflenet_v2 res2net dpn ghostnet squeeze_excite mixer
    lstm gru fused_attention super_resolution autoencoder wavenet
    bert deberta_v2 fnet gpt2 bloom llama_grouped t5 vit swin segformer regnet convnextv2 levit
    yolo unet_3d diffusion_unet linear_attention graph_network vocoder
    wav2vec2 whisper yolos qwen2_moe state_space patchtst
    """.split()
)
# Nine tenths of the time of a large one are its export; these differ in what is exported, the rest are nightly.
EXPORTED = frozenset(
    """
    squeezenet unet shufflenet_v2 squeeze_excite mixer lstm fused_attention
    bert gpt2 vit graph_network linear_attention vocoder state_space
    """.split()
)
CASES = [pytest.param(name, marks=[] if name in BY_DEFAULT else [pytest.mark.nightly]) for name in sorted(ZOO)]

LITTLE = {
    "longformer": "its windows are views that overlap, made by as_strided",
}

NORMALISED = {
    "convnextv2": "each of its blocks divides by a mean over the filters",
    "mamba2": "all that it frees is normalised",
}

ONE_BATCH = {"reformer": "torch.export fixes the batch that its code splits into chunks"}

NOT_EXPORTED = {
    "informer": "Attention mask should be of size",
    "longformer": "which operators it runs depends on the values of its inputs",
    "mixtral": "Expected inputs of BF16 type",
    "qwen2_moe": "Expected inputs of BF16 type",
}


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    process = Elsewhere(tmp_path_factory.mktemp("elsewhere"))
    yield process
    process.close()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_half_of_every_group(name: str, tmp_path: Path, elsewhere: Elsewhere, pytestconfig: pytest.Config) -> None:
    written = name in EXPORTED or pytestconfig.getoption("--nightly")
    exported = written and name not in NOT_EXPORTED
    found = judge(name, tmp_path if exported else None)
    assert found.put_back == {}
    assert found.miscounted == 0
    assert found.checked > 0 or name in NORMALISED
    assert found.silent_error < 1e-4
    assert found.effect > 1e-3
    assert found.untouched
    assert found.left < (1 if name in LITTLE else 0.75)
    if exported:
        assert found.dynamic == (name not in ONE_BATCH)
        assert elsewhere.answer(tmp_path) == "same"
    elif written:
        with pytest.raises(ExportFailedError, match=NOT_EXPORTED[name]):
            program_of(found.model, inputs_of(ZOO[name].example()))


def test_the_zoo_is_large_and_none_of_it_stays_large_without_a_reason() -> None:
    assert len(ZOO) >= 100
    assert len(LITTLE) <= len(ZOO) // 25
    assert {*LITTLE, *NORMALISED, *ONE_BATCH, *NOT_EXPORTED, *BY_DEFAULT} <= set(ZOO)
    assert BY_DEFAULT - set(NOT_EXPORTED) >= EXPORTED


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
def test_a_published_model_is_followed_once_its_cache_is_switched_off() -> None:
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    widths = {"d_model": 8, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "vocab_size": 9, "num_mel_bins": 4}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = WhisperConfig(max_source_positions=4, **sizes, **widths, **tokens)
    model = WhisperForConditionalGeneration(config)
    example = {"input_features": torch.randn(2, 4, 8), "decoder_input_ids": torch.ones(2, 3, dtype=torch.long)}
    with pytest.raises(TraceError, match=r"a cache of keys and values \(EncoderDecoderCache\)"):
        trace(model, example)
    model.config.use_cache = False
    assert any(group.frozen is None for group in trace(model, example).groups)
