"""Architectures of the transformers library over sequences: other attentions, state spaces, experts, time series."""

from family import TEXT, Family
from sound_families import BOTH_SIDES

GROUPED = {**TEXT, "num_key_value_heads": 2}
STATES = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
GPT = {"vocab_size": 64, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 4}
T5 = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
SERIES = {
    "prediction_length": 6,
    "context_length": 13,
    "lags_sequence": [1, 2, 3, 7],
    "num_time_features": 2,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
}
PATCHES = {
    "num_input_channels": 3,
    "context_length": 32,
    "patch_length": 8,
    "patch_stride": 4,
    "prediction_length": 6,
}

SEQUENCES: dict[str, Family] = {
    # other attentions
    "longformer": Family(
        "LongformerForSequenceClassification",
        "LongformerConfig",
        {**TEXT, "attention_window": 8, "max_position_embeddings": 32, "pad_token_id": 1},
        "masked",
    ),
    "big_bird": Family(
        "BigBirdForSequenceClassification",
        "BigBirdConfig",
        {
            **TEXT,
            "attention_type": "block_sparse",
            "block_size": 4,
            "num_random_blocks": 1,
            "max_position_embeddings": 64,
        },
        "masked32",
    ),
    "led": Family(
        "LEDForConditionalGeneration",
        "LEDConfig",
        {
            **BOTH_SIDES,
            "max_encoder_position_embeddings": 32,
            "max_decoder_position_embeddings": 16,
            "attention_window": 4,
        },
        "pairs",
    ),
    "longt5": Family(
        "LongT5ForConditionalGeneration",
        "LongT5Config",
        {**T5, "local_radius": 3, "global_block_size": 4, "encoder_attention_type": "transient-global"},
        "pairs",
    ),
    "pegasus_x": Family(
        "PegasusXForConditionalGeneration",
        "PegasusXConfig",
        {**BOTH_SIDES, "num_global_tokens": 4, "block_size": 4, "max_position_embeddings": 32},
        "pairs",
    ),
    "funnel": Family(
        "FunnelForSequenceClassification",
        "FunnelConfig",
        {
            "vocab_size": 64,
            "block_sizes": [1, 1],
            "num_decoder_layers": 1,
            "d_model": 32,
            "n_head": 4,
            "d_head": 8,
            "d_inner": 48,
        },
    ),
    "convbert": Family(
        "ConvBertForSequenceClassification",
        "ConvBertConfig",
        {**TEXT, "embedding_size": 32, "conv_kernel_size": 5, "head_ratio": 2},
    ),
    "xlnet": Family(
        "XLNetForSequenceClassification",
        "XLNetConfig",
        {"vocab_size": 64, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48},
    ),
    "reformer": Family(
        "ReformerForSequenceClassification",
        "ReformerConfig",
        {
            "vocab_size": 64,
            "hidden_size": 32,
            "attention_head_size": 8,
            "num_attention_heads": 4,
            "feed_forward_size": 48,
            "attn_layers": ["local", "local"],
            "local_attn_chunk_length": 4,
            "axial_pos_shape": [4, 4],
            "axial_pos_embds_dim": [16, 16],
            "max_position_embeddings": 16,
            "is_decoder": False,
            "pad_token_id": 0,
        },
        "tokens16",
    ),
    "nystromformer": Family(
        "NystromformerForSequenceClassification",
        "NystromformerConfig",
        {**TEXT, "segment_means_seq_len": 12, "num_landmarks": 4},
    ),
    "yoso": Family("YosoForSequenceClassification", "YosoConfig", TEXT),
    "roformer": Family("RoFormerForSequenceClassification", "RoFormerConfig", {**TEXT, "embedding_size": 32}),
    "canine": Family(
        "CanineForSequenceClassification",
        "CanineConfig",
        {
            **TEXT,
            "num_hash_buckets": 32,
            "downsampling_rate": 4,
            "local_transformer_stride": 8,
            "upsampling_kernel_size": 4,
            "max_position_embeddings": 64,
        },
        "tokens32",
    ),
    "mobilebert": Family(
        "MobileBertForSequenceClassification",
        "MobileBertConfig",
        {
            **TEXT,
            "embedding_size": 16,
            "true_hidden_size": 16,
            "intra_bottleneck_size": 16,
            "num_feedforward_networks": 2,
        },
    ),
    "perceiver": Family(
        "PerceiverForMaskedLM",
        "PerceiverConfig",
        {
            "num_latents": 6,
            "d_latents": 32,
            "d_model": 24,
            "num_blocks": 1,
            "num_self_attends_per_block": 2,
            "num_self_attention_heads": 4,
            "num_cross_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 16,
            "qk_channels": 32,
            "v_channels": 32,
        },
        "latent",
    ),
    # decoders of another kind
    "gptj": Family("GPTJForCausalLM", "GPTJConfig", {**GPT, "rotary_dim": 4}),
    "mpt": Family(
        "MptForCausalLM", "MptConfig", {"vocab_size": 64, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 16}
    ),
    "gemma2": Family("Gemma2ForCausalLM", "Gemma2Config", {**GROUPED, "head_dim": 8, "sliding_window": 8}),
    "cohere": Family("CohereForCausalLM", "CohereConfig", GROUPED),
    "nemotron": Family("NemotronForCausalLM", "NemotronConfig", GROUPED),
    "diffllama": Family("DiffLlamaForCausalLM", "DiffLlamaConfig", GROUPED),
    # experts
    "mixtral": Family(
        "MixtralForCausalLM", "MixtralConfig", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}
    ),
    "qwen2_moe": Family(
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        {
            **GROUPED,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 32,
        },
    ),
    # state spaces and recurrence
    "mamba": Family("MambaForCausalLM", "MambaConfig", {**STATES, "time_step_rank": 4}),
    "mamba2": Family(
        "Mamba2ForCausalLM",
        "Mamba2Config",
        {**STATES, "num_heads": 8, "head_dim": 8, "expand": 2, "n_groups": 1, "chunk_size": 4},
    ),
    "rwkv": Family(
        "RwkvForCausalLM",
        "RwkvConfig",
        {
            "vocab_size": 64,
            "context_length": 16,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "attention_hidden_size": 32,
            "intermediate_size": 48,
        },
    ),
    "recurrent_gemma": Family(
        "RecurrentGemmaForCausalLM",
        "RecurrentGemmaConfig",
        {
            "vocab_size": 64,
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "lru_width": 32,
            "intermediate_size": 48,
            "attention_window_size": 8,
        },
    ),
    "lfm2": Family("Lfm2ForCausalLM", "Lfm2Config", {**GROUPED, "block_ff_dim": 48, "full_attn_idxs": [1]}),
    # time series
    "patchtst": Family(
        "PatchTSTForPrediction",
        "PatchTSTConfig",
        {**PATCHES, "d_model": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "ffn_dim": 48},
        "patches",
    ),
    "informer": Family("InformerModel", "InformerConfig", SERIES, "series"),
    "autoformer": Family(
        "AutoformerModel", "AutoformerConfig", {**SERIES, "label_length": 4, "moving_average": 5}, "series"
    ),
}
