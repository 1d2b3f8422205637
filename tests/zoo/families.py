"""Architectures of the transformers library that most users have, built small, with random weights.

Each entry names the model, the configuration, the changes that make it small, and the kind of its input.
"""

from dense_families import DENSE
from family import TEXT, VISION, Family
from sequence_families import SEQUENCES
from sound_families import SOUND

SMALL_STAGES = {"hidden_sizes": [16, 32], "depths": [2, 2], "num_stages": 2}

FAMILIES: dict[str, Family] = {
    # text encoders
    "bert": Family("BertForSequenceClassification", "BertConfig", TEXT),
    "roberta": Family("RobertaForSequenceClassification", "RobertaConfig", TEXT),
    "distilbert": Family(
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        {"vocab_size": 64, "max_position_embeddings": 16, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    ),
    "albert": Family("AlbertForSequenceClassification", "AlbertConfig", {**TEXT, "embedding_size": 16}),
    "electra": Family("ElectraForSequenceClassification", "ElectraConfig", {**TEXT, "embedding_size": 16}),
    "mpnet": Family("MPNetForSequenceClassification", "MPNetConfig", TEXT),
    "deberta_v2": Family("DebertaV2ForSequenceClassification", "DebertaV2Config", TEXT),
    "deberta_v3": Family(
        "DebertaV2ForSequenceClassification",
        "DebertaV2Config",
        {
            **TEXT,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "position_buckets": 8,
            "position_biased_input": False,
        },
    ),
    "modernbert": Family(
        "ModernBertForSequenceClassification",
        "ModernBertConfig",
        {**TEXT, "pad_token_id": 0, "attn_implementation": "eager"},
    ),
    "squeezebert": Family("SqueezeBertForSequenceClassification", "SqueezeBertConfig", {**TEXT, "embedding_size": 32}),
    "fnet": Family("FNetForSequenceClassification", "FNetConfig", {**TEXT}),
    # decoders
    "gpt2": Family(
        "GPT2LMHeadModel", "GPT2Config", {"vocab_size": 64, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 4}
    ),
    "opt": Family("OPTForCausalLM", "OPTConfig", {**TEXT, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "gpt_neox": Family("GPTNeoXForCausalLM", "GPTNeoXConfig", TEXT),
    "llama": Family("LlamaForCausalLM", "LlamaConfig", {**TEXT, "num_key_value_heads": 4}),
    "llama_grouped": Family(
        "LlamaForCausalLM", "LlamaConfig", {**TEXT, "num_attention_heads": 8, "num_key_value_heads": 4}
    ),
    "mistral": Family("MistralForCausalLM", "MistralConfig", {**TEXT, "num_key_value_heads": 2, "head_dim": 8}),
    "qwen2": Family("Qwen2ForCausalLM", "Qwen2Config", {**TEXT, "num_key_value_heads": 4}),
    "qwen3": Family("Qwen3ForCausalLM", "Qwen3Config", {**TEXT, "num_key_value_heads": 4, "head_dim": 8}),
    "gemma": Family("GemmaForCausalLM", "GemmaConfig", {**TEXT, "num_key_value_heads": 4, "head_dim": 8}),
    "phi": Family("PhiForCausalLM", "PhiConfig", TEXT),
    "phi3": Family("Phi3ForCausalLM", "Phi3Config", {**TEXT, "num_key_value_heads": 4, "pad_token_id": 0}),
    "falcon": Family(
        "FalconForCausalLM", "FalconConfig", {**TEXT, "num_kv_heads": 4, "new_decoder_architecture": True}
    ),
    "bloom": Family(
        "BloomForCausalLM", "BloomConfig", {"vocab_size": 64, "hidden_size": 32, "n_layer": 2, "n_head": 4}
    ),
    "stablelm": Family("StableLmForCausalLM", "StableLmConfig", {**TEXT, "num_key_value_heads": 4}),
    "olmo": Family("OlmoForCausalLM", "OlmoConfig", {**TEXT, "pad_token_id": 0}),
    "starcoder2": Family("Starcoder2ForCausalLM", "Starcoder2Config", {**TEXT, "num_key_value_heads": 4}),
    # encoder-decoders
    "t5": Family(
        "T5ForConditionalGeneration",
        "T5Config",
        {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
        "pairs",
    ),
    "bart": Family(
        "BartForConditionalGeneration",
        "BartConfig",
        {
            "vocab_size": 64,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_position_embeddings": 16,
        },
        "pairs",
    ),
    # vision transformers
    "vit": Family("ViTForImageClassification", "ViTConfig", VISION, "pixels16"),
    "deit": Family("DeiTForImageClassification", "DeiTConfig", VISION, "pixels16"),
    "beit": Family(
        "BeitForImageClassification", "BeitConfig", {**VISION, "use_relative_position_bias": True}, "pixels16"
    ),
    "dinov2": Family("Dinov2ForImageClassification", "Dinov2Config", VISION, "pixels16"),
    "siglip": Family(
        "SiglipForImageClassification", "SiglipConfig", {"vision_config": VISION, "text_config": TEXT}, "pixels16"
    ),
    "clip_vision": Family(
        "CLIPForImageClassification", "CLIPConfig", {"vision_config": VISION, "text_config": TEXT}, "pixels16"
    ),
    "swin": Family(
        "SwinForImageClassification",
        "SwinConfig",
        {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [4, 4], "window_size": 4},
        "pixels32",
    ),
    "swinv2": Family(
        "Swinv2ForImageClassification",
        "Swinv2Config",
        {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [4, 4], "window_size": 4},
        "pixels32",
    ),
    "poolformer": Family(
        "PoolFormerForImageClassification",
        "PoolFormerConfig",
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_encoder_blocks": 4},
        "pixels64",
    ),
    "segformer": Family(
        "SegformerForImageClassification",
        "SegformerConfig",
        {
            "hidden_sizes": [16, 32],
            "depths": [1, 1],
            "num_encoder_blocks": 2,
            "num_attention_heads": [4, 4],
            "sr_ratios": [2, 1],
            "patch_sizes": [3, 3],
            "strides": [2, 2],
            "mlp_ratios": [2, 2],
        },
        "pixels32",
    ),
    "pvt": Family(
        "PvtForImageClassification",
        "PvtConfig",
        {
            "image_size": 32,
            "hidden_sizes": [16, 32],
            "depths": [1, 1],
            "num_encoder_blocks": 2,
            "num_attention_heads": [4, 4],
            "sequence_reduction_ratios": [2, 1],
            "patch_sizes": [4, 2],
            "strides": [4, 2],
            "mlp_ratios": [2, 2],
        },
        "pixels32",
    ),
    # convolutional
    "resnet": Family(
        "ResNetForImageClassification",
        "ResNetConfig",
        {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [2, 2], "layer_type": "bottleneck"},
        "pixels32",
    ),
    "regnet": Family(
        "RegNetForImageClassification",
        "RegNetConfig",
        {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [2, 2], "groups_width": 8},
        "pixels32",
    ),
    "convnext": Family("ConvNextForImageClassification", "ConvNextConfig", SMALL_STAGES, "pixels32"),
    "convnextv2": Family("ConvNextV2ForImageClassification", "ConvNextV2Config", SMALL_STAGES, "pixels32"),
    "mobilenet_v1": Family(
        "MobileNetV1ForImageClassification",
        "MobileNetV1Config",
        {"depth_multiplier": 0.25, "image_size": 32},
        "pixels32",
    ),
    "mobilenet_v2": Family(
        "MobileNetV2ForImageClassification",
        "MobileNetV2Config",
        {"depth_multiplier": 0.25, "image_size": 32},
        "pixels32",
    ),
    "efficientnet": Family(
        "EfficientNetForImageClassification",
        "EfficientNetConfig",
        {"width_coefficient": 0.25, "depth_coefficient": 0.3, "image_size": 32, "hidden_dim": 320},
        "pixels32",
    ),
    "focalnet": Family(
        "FocalNetForImageClassification",
        "FocalNetConfig",
        {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 1]},
        "pixels32",
    ),
    "mobilevit": Family(
        "MobileViTForImageClassification",
        "MobileViTConfig",
        {"image_size": 64, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 16, 16, 24, 24, 32, 64]},
        "pixels64",
    ),
    "levit": Family(
        "LevitForImageClassification",
        "LevitConfig",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "num_attention_heads": [4, 4, 4],
            "depths": [1, 1, 1],
            "key_dim": [4, 4, 4],
        },
        "pixels64",
    ),
    **DENSE,
    **SEQUENCES,
    **SOUND,
}
