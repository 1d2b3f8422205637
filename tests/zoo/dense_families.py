"""Architectures of the transformers library that find things, measure depth, watch videos, join text."""

from family import TEXT, VISION, Family
from transformers import ConvNextConfig, ResNetConfig, SwinConfig

QUERIES = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "num_queries": 5,
    "num_labels": 3,
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
    "backbone_config": ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], out_features=["stage4"]
    ),
}
ALL_STAGES = ["stage1", "stage2", "stage3", "stage4"]
SWIN = SwinConfig(
    image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[2, 2, 2, 2], window_size=4, out_features=ALL_STAGES
)
CONVNEXT = ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], out_features=ALL_STAGES)
PYRAMID = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 16, 24, 32],
    "num_attention_heads": [2, 2, 2, 2],
    "sr_ratios": [4, 2, 1, 1],
}
FRAMES = {**VISION, "num_frames": 4}

DENSE: dict[str, Family] = {
    # detectors
    "detr": Family("DetrForObjectDetection", "DetrConfig", QUERIES, "pixels64"),
    "conditional_detr": Family("ConditionalDetrForObjectDetection", "ConditionalDetrConfig", QUERIES, "pixels64"),
    "yolos": Family(
        "YolosForObjectDetection",
        "YolosConfig",
        {**VISION, "image_size": [32, 32], "num_detection_tokens": 5},
        "pixels32",
    ),
    "rt_detr": Family(
        "RTDetrForObjectDetection",
        "RTDetrConfig",
        {
            "backbone_config": None,
            "encoder_hidden_dim": 32,
            "encoder_in_channels": [16, 24, 32],
            "encoder_ffn_dim": 48,
            "encoder_attention_heads": 4,
            "d_model": 32,
            "num_queries": 5,
            "decoder_in_channels": [32, 32, 32],
            "decoder_ffn_dim": 48,
            "decoder_layers": 1,
            "decoder_attention_heads": 4,
            "num_denoising": 0,
        },
        "pixels128",
    ),
    # segmentation, depth, resolution
    "segformer_semantic": Family(
        "SegformerForSemanticSegmentation", "SegformerConfig", {**PYRAMID, "decoder_hidden_size": 24}, "pixels64"
    ),
    "upernet": Family(
        "UperNetForSemanticSegmentation",
        "UperNetConfig",
        {
            "backbone_config": CONVNEXT,
            "hidden_size": 24,
            "pool_scales": [1, 2],
            "auxiliary_channels": 16,
            "auxiliary_in_channels": 24,
            "num_labels": 5,
        },
        "pixels64",
    ),
    "mask2former": Family(
        "Mask2FormerForUniversalSegmentation",
        "Mask2FormerConfig",
        {
            "backbone_config": SWIN,
            "feature_size": 32,
            "mask_feature_size": 16,
            "hidden_dim": 32,
            "encoder_feedforward_dim": 48,
            "encoder_layers": 1,
            "decoder_layers": 2,
            "num_attention_heads": 4,
            "dim_feedforward": 48,
            "num_queries": 5,
        },
        "pixels64",
    ),
    "sam_vision": Family(
        "SamVisionModel",
        "SamVisionConfig",
        {
            "hidden_size": 32,
            "output_channels": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 4,
            "window_size": 4,
            "global_attn_indexes": [1],
            "mlp_dim": 48,
        },
        "pixels32",
    ),
    "dpt": Family(
        "DPTForDepthEstimation",
        "DPTConfig",
        {
            **VISION,
            "image_size": 32,
            "num_hidden_layers": 4,
            "backbone_out_indices": [0, 1, 2, 3],
            "neck_hidden_sizes": [8, 16, 24, 32],
            "fusion_hidden_size": 16,
            "reassemble_factors": [4, 2, 1, 0.5],
        },
        "pixels32",
    ),
    "glpn": Family("GLPNForDepthEstimation", "GLPNConfig", {**PYRAMID, "decoder_hidden_size": 16}, "pixels64"),
    "swin2sr": Family(
        "Swin2SRForImageSuperResolution",
        "Swin2SRConfig",
        {"image_size": 16, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "upscale": 2},
        "pixels16",
    ),
    "vit_mae": Family(
        "ViTMAEForPreTraining",
        "ViTMAEConfig",
        {
            **VISION,
            "decoder_hidden_size": 16,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 4,
            "decoder_intermediate_size": 24,
        },
        "masked_pixels",
    ),
    # one answer for a picture
    "hiera": Family(
        "HieraForImageClassification",
        "HieraConfig",
        {
            "image_size": [32, 32],
            "patch_size": [3, 3],
            "patch_stride": [2, 2],
            "patch_padding": [1, 1],
            "embed_dim": 16,
            "depths": [1, 1],
            "num_heads": [2, 4],
            "num_layers": 2,
            "query_stride": [2, 2],
            "masked_unit_size": [4, 4],
            "masked_unit_attention": [True, False],
            "num_query_pool": 1,
        },
        "pixels32",
    ),
    "swiftformer": Family(
        "SwiftFormerForImageClassification",
        "SwiftFormerConfig",
        {"depths": [1, 1, 1, 1], "embed_dims": [8, 16, 24, 32], "image_size": 64},
        "pixels64",
    ),
    "cvt": Family(
        "CvtForImageClassification",
        "CvtConfig",
        {
            "embed_dim": [16, 32],
            "num_heads": [2, 4],
            "depth": [1, 2],
            "patch_sizes": [7, 3],
            "patch_stride": [4, 2],
            "patch_padding": [2, 1],
            "mlp_ratio": [2.0, 2.0],
            "attention_drop_rate": [0.0, 0.0],
            "drop_rate": [0.0, 0.0],
            "drop_path_rate": [0.0, 0.0],
            "qkv_bias": [True, True],
            "cls_token": [False, True],
            "qkv_projection_method": ["dw_bn", "dw_bn"],
            "kernel_qkv": [3, 3],
            "padding_kv": [1, 1],
            "stride_kv": [2, 2],
            "padding_q": [1, 1],
            "stride_q": [1, 1],
        },
        "pixels32",
    ),
    "bit": Family(
        "BitForImageClassification",
        "BitConfig",
        {"hidden_sizes": [32, 64], "depths": [1, 1], "embedding_size": 32, "num_groups": 8},
        "pixels32",
    ),
    "donut_swin": Family(
        "DonutSwinForImageClassification",
        "DonutSwinConfig",
        {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 1], "num_heads": [4, 4], "window_size": 4},
        "pixels32",
    ),
    "hgnet": Family(
        "HGNetV2ForImageClassification",
        "HGNetV2Config",
        {
            "embedding_size": 8,
            "hidden_sizes": [16, 24, 32, 32],
            "depths": [1, 1, 1, 1],
            "stem_channels": [3, 8, 8],
            "stage_in_channels": [8, 16, 24, 32],
            "stage_mid_channels": [8, 8, 8, 8],
            "stage_out_channels": [16, 24, 32, 32],
            "stage_num_blocks": [1, 1, 1, 1],
            "stage_numb_of_layers": [2, 2, 2, 2],
        },
        "pixels64",
    ),
    # videos
    "videomae": Family("VideoMAEForVideoClassification", "VideoMAEConfig", {**FRAMES, "tubelet_size": 2}, "video"),
    "timesformer": Family("TimesformerForVideoClassification", "TimesformerConfig", FRAMES, "video"),
    # pictures and text
    "clip": Family(
        "CLIPModel",
        "CLIPConfig",
        {"text_config": {**TEXT, "eos_token_id": 2}, "vision_config": VISION, "projection_dim": 16},
        "captioned16",
    ),
    "blip": Family(
        "BlipForImageTextRetrieval",
        "BlipConfig",
        {
            "text_config": {**TEXT, "encoder_hidden_size": 32},
            "vision_config": VISION,
            "image_text_hidden_size": 16,
            "projection_dim": 16,
        },
        "captioned16",
    ),
    "git": Family(
        "GitForCausalLM",
        "GitConfig",
        {**TEXT, "max_position_embeddings": 64, "vision_config": VISION},
        "captioned16",
    ),
    "groupvit": Family(
        "GroupViTModel",
        "GroupViTConfig",
        {
            "text_config": {**TEXT, "eos_token_id": 2},
            "vision_config": {
                **VISION,
                "image_size": 32,
                "depths": [1, 1],
                "num_group_tokens": [8, 0],
                "num_output_groups": [4, 4],
            },
            "projection_dim": 16,
            "projection_intermediate_dim": 24,
        },
        "captioned32",
    ),
    "layoutlm": Family(
        "LayoutLMForSequenceClassification", "LayoutLMConfig", {**TEXT, "max_2d_position_embeddings": 16}, "boxes"
    ),
}
