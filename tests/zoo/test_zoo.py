"""At least fifty architectures at half the filters of every free group: none wrong, none crashed, all far smaller."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from elsewhere import Elsewhere
from judging import ZOO, judge
from transformers import WhisperConfig, WhisperForConditionalGeneration

from pfa_gate.errors import TraceError
from pfa_gate.graph import trace

# Every second one, so that both halves have every kind.
ORDER = sorted(ZOO)
CASES = [pytest.param(name, marks=[pytest.mark.nightly] if place % 2 else []) for place, name in enumerate(ORDER)]

NORMALISED = {"convnextv2": "each of its blocks divides by a mean over the filters"}


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    process = Elsewhere(tmp_path_factory.mktemp("elsewhere"))
    yield process
    process.close()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_half_of_every_group(name: str, tmp_path: Path, elsewhere: Elsewhere) -> None:
    found = judge(name, tmp_path)
    assert found.put_back == {}
    assert found.miscounted == 0
    assert found.checked > 0 or name in NORMALISED
    assert found.silent_error < 1e-4
    assert found.effect > 1e-3
    assert found.untouched
    assert found.dynamic
    assert found.left < 0.75
    assert elsewhere.answer(tmp_path) == "same"


def test_the_zoo_is_large() -> None:
    assert len(ZOO) >= 50


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
