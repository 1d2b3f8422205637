"""Architectures of the transformers library that hear and speak: encoders of waves, codecs, vocoders."""

from family import TEXT, Family

WAVE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16, 16, 16),
    "conv_stride": (5, 2, 2),
    "conv_kernel": (10, 3, 3),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 20,
    "pad_token_id": 0,
}
BOTH_SIDES = {
    "vocab_size": 64,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
VOICE = {
    "model_in_dim": 8,
    "upsample_initial_channel": 32,
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilation_sizes": [[1, 3], [1, 3]],
}

SOUND: dict[str, Family] = {
    # a wave to letters
    "wav2vec2": Family("Wav2Vec2ForCTC", "Wav2Vec2Config", WAVE, "wave"),
    "wav2vec2_large": Family(
        "Wav2Vec2ForSequenceClassification",
        "Wav2Vec2Config",
        {**WAVE, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "use_weighted_layer_sum": True},
        "wave",
    ),
    "data2vec_audio": Family(
        "Data2VecAudioForCTC",
        "Data2VecAudioConfig",
        {**WAVE, "conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 2},
        "wave",
    ),
    "wavlm": Family("WavLMForCTC", "WavLMConfig", {**WAVE, "num_buckets": 16, "max_bucket_distance": 20}, "wave"),
    "sew": Family("SEWForCTC", "SEWConfig", {**WAVE, "squeeze_factor": 2}, "long_wave"),
    "sew_d": Family(
        "SEWDForCTC",
        "SEWDConfig",
        {**WAVE, "squeeze_factor": 2, "max_position_embeddings": 64, "position_buckets": 16},
        "long_wave",
    ),
    "conformer": Family(
        "Wav2Vec2ConformerForCTC",
        "Wav2Vec2ConformerConfig",
        {**WAVE, "conv_depthwise_kernel_size": 5, "max_source_positions": 64},
        "wave",
    ),
    "wav2vec2_bert": Family(
        "Wav2Vec2BertForCTC",
        "Wav2Vec2BertConfig",
        {
            **WAVE,
            "feature_projection_input_dim": 8,
            "left_max_position_embeddings": 8,
            "right_max_position_embeddings": 4,
            "conv_depthwise_kernel_size": 5,
        },
        "features",
    ),
    # a spectrogram to words
    "whisper": Family(
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        {**BOTH_SIDES, "num_mel_bins": 8, "max_source_positions": 8, "max_target_positions": 16},
        "heard",
    ),
    "speech_to_text": Family(
        "Speech2TextForConditionalGeneration",
        "Speech2TextConfig",
        {
            **BOTH_SIDES,
            "input_feat_per_channel": 8,
            "conv_channels": 24,
            "max_source_positions": 40,
            "max_target_positions": 16,
        },
        "heard_long",
    ),
    "audio_spectrogram": Family(
        "ASTForAudioClassification",
        "ASTConfig",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "patch_size": 4,
            "frequency_stride": 4,
            "time_stride": 4,
            "max_length": 32,
            "num_mel_bins": 16,
        },
        "frames",
    ),
    "clap": Family(
        "ClapModel",
        "ClapConfig",
        {
            "text_config": TEXT,
            "audio_config": {
                "spec_size": 64,
                "num_mel_bins": 16,
                "patch_embeds_hidden_size": 16,
                "hidden_size": 32,
                "patch_size": 4,
                "patch_stride": [4, 4],
                "depths": [1, 1],
                "num_attention_heads": [2, 2],
                "window_size": 4,
                "num_classes": 4,
            },
            "projection_dim": 16,
        },
        "described",
    ),
    # sound out
    "hifigan": Family("SpeechT5HifiGan", "SpeechT5HifiGanConfig", VOICE, "spectrogram"),
    "dac": Family(
        "DacModel",
        "DacConfig",
        {
            "encoder_hidden_size": 8,
            "downsampling_ratios": [2, 4],
            "decoder_hidden_size": 32,
            "n_codebooks": 2,
            "codebook_size": 16,
            "codebook_dim": 4,
        },
        "channel",
    ),
    "encodec": Family(
        "EncodecModel",
        "EncodecConfig",
        {
            "hidden_size": 32,
            "num_filters": 8,
            "upsampling_ratios": [4, 2],
            "codebook_size": 16,
            "codebook_dim": 32,
            "num_lstm_layers": 1,
            "sampling_rate": 800,
            "target_bandwidths": [0.4],
        },
        "channel",
    ),
    "bark": Family(
        "BarkSemanticModel",
        "BarkSemanticConfig",
        {
            "input_vocab_size": 64,
            "output_vocab_size": 64,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "block_size": 16,
        },
    ),
}
