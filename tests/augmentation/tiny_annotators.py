"""The networks that read real videos, in miniature: random weights, in folders as transformers writes them."""

from pathlib import Path

import torch
from transformers import (
    BertTokenizer,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DPTImageProcessor,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    Sam2ImageProcessor,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VideoProcessor,
    Sam2VideoVideoProcessor,
)
from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoMaskDecoderConfig

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "robot", "red", "cube", "table")
SIZE = 64


def depth(folder: Path, *, metric: bool = False) -> Path:
    """A Depth Anything whose output varies over the image."""
    torch.manual_seed(0)
    config = DepthAnythingConfig(
        backbone_config={
            "model_type": "dinov2", "image_size": 56, "patch_size": 14, "hidden_size": 16, "num_attention_heads": 2,
            "num_hidden_layers": 4, "out_indices": [1, 2, 3, 4], "reshape_hidden_states": False,
        },
        reassemble_hidden_size=16,
        neck_hidden_sizes=[4, 6, 8, 10],
        fusion_hidden_size=8,
        head_hidden_size=4,
        depth_estimation_type="metric" if metric else "relative",
        max_depth=20 if metric else None,
    )  # fmt: skip
    network = DepthAnythingForDepthEstimation(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    network.save_pretrained(folder)
    size = {"height": 56, "width": 56}
    DPTImageProcessor(size=size, keep_aspect_ratio=True, ensure_multiple_of=14).save_pretrained(folder)
    return folder


def detector(folder: Path) -> Path:
    """A Grounding DINO that knows ten words."""
    torch.manual_seed(1)
    config = GroundingDinoConfig(
        backbone_config={
            "model_type": "swin", "image_size": SIZE, "patch_size": 4, "embed_dim": 16, "depths": [1, 1, 1, 1],
            "num_heads": [1, 2, 2, 2], "window_size": 4, "out_indices": [2, 3, 4],
        },
        text_config={
            "model_type": "bert", "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 64,
        },
        d_model=32, num_queries=5, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=4, decoder_attention_heads=4, max_text_len=16,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    tokenizer = BertTokenizer(vocab={word: k for k, word in enumerate(WORDS)})
    images = GroundingDinoImageProcessor(size={"shortest_edge": SIZE, "longest_edge": 2 * SIZE})
    GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def tracker(folder: Path) -> Path:
    """A SAM 2 for video."""
    torch.manual_seed(2)
    config = Sam2VideoConfig(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [SIZE, SIZE],
                "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 2, 2], "window_size_per_stage": [4, 2, 2, 2],
                "global_attention_blocks": [3],
            },
            "backbone_channel_list": [64, 32, 16, 8], "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 128,
        },
        prompt_encoder_config={"hidden_size": 128, "image_size": SIZE, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config=Sam2VideoMaskDecoderConfig(
            hidden_size=128, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16
        ),
        image_size=SIZE, num_maskmem=3, memory_attention_hidden_size=128, memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32, memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=128, memory_encoder_output_channels=64, mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128, memory_fuser_intermediate_dim=32, memory_fuser_num_layers=1,
    )  # fmt: skip
    network = Sam2VideoModel(config)
    # Without training the network would say of most frames that the object is hidden.
    torch.nn.init.constant_(network.mask_decoder.pred_obj_score_head.proj_out.bias, 1.0)
    network.save_pretrained(folder)
    size = {"height": SIZE, "width": SIZE}
    mask = {"height": SIZE // 4, "width": SIZE // 4}
    images, videos = Sam2ImageProcessor(size=size, mask_size=mask), Sam2VideoVideoProcessor(size=size)
    Sam2VideoProcessor(images, videos).save_pretrained(folder)
    return folder
