"""The program's forward pass against Transformers, for configurations made on the spot: rope scalings, biases, head sizes, other numbers of
key/value heads, sliding windows, and the old and new spellings of config.json. Each case has a mutant, a config.json that differs in one
value and must be told apart."""
import json
import shutil

import pytest
import torch
import transformers

TOLERANCE = 5e-5  # relative L2 error at each position
LENGTH = 96

BASE = dict(vocab_size=160, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=256, tie_word_embeddings=False, bos_token_id=0, eos_token_id=1, pad_token_id=None)
LLAMA, MISTRAL = (transformers.LlamaConfig, transformers.LlamaForCausalLM), (transformers.MistralConfig, transformers.MistralForCausalLM)


def rope(kind, **more):
    return dict(rope_parameters=dict(rope_type=kind, **dict(dict(rope_theta=10000.0), **more)))


# name: (family, config, what the mutant's config.json changes)
CASES = {
    "llama": (LLAMA, {}, dict(rms_norm_eps=1e-3)),
    "theta": (LLAMA, rope("default", rope_theta=500000.0), dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    "tied": (LLAMA, dict(tie_word_embeddings=True), dict(rms_norm_eps=1e-3)),
    "all-heads": (LLAMA, dict(num_key_value_heads=4), dict(rope_parameters=dict(rope_type="default", rope_theta=10001.0))),
    "one-kv-head": (LLAMA, dict(num_key_value_heads=1), dict(rope_parameters=dict(rope_type="default", rope_theta=10001.0))),
    "six-heads-three": (LLAMA, dict(hidden_size=96, num_attention_heads=6, num_key_value_heads=3), dict(rms_norm_eps=1e-3)),
    "head-dim": (LLAMA, dict(head_dim=24), dict(rms_norm_eps=1e-3)),
    "attention-bias": (LLAMA, dict(attention_bias=True), dict(attention_bias=False)),
    "mlp-bias": (LLAMA, dict(mlp_bias=True), dict(mlp_bias=False)),
    "linear": (LLAMA, rope("linear", factor=4.0), dict(rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.01))),
    "llama3": (LLAMA, rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64),
               dict(rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.1,
                                         original_max_position_embeddings=64))),
    "yarn": (LLAMA, rope("yarn", factor=4.0, original_max_position_embeddings=64),
             dict(rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.1, original_max_position_embeddings=64))),
    "yarn-all": (LLAMA, rope("yarn", factor=8.0, original_max_position_embeddings=512, attention_factor=0.8, beta_fast=20.0, beta_slow=2.0,
                             truncate=False),
                 dict(rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=8.0, original_max_position_embeddings=512, attention_factor=0.8,
                                           beta_fast=20.0, beta_slow=2.0, truncate=True))),
    "yarn-mscale": (LLAMA, rope("yarn", factor=8.0, original_max_position_embeddings=32, mscale=1.0, mscale_all_dim=0.5),
                    dict(rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=8.0, original_max_position_embeddings=32, mscale=1.0,
                                              mscale_all_dim=0.6))),
    "window": (MISTRAL, dict(sliding_window=16), dict(sliding_window=17)),
    "no-window": (MISTRAL, dict(sliding_window=None), dict(sliding_window=80)),
    "window-head-dim": (MISTRAL, dict(sliding_window=7, head_dim=32), dict(sliding_window=8)),
}


def make_model(name, folder, dtype=torch.float32):
    """A repository with random weights that are large enough for attention to be far from uniform."""
    (config_class, model_class), changes, _ = CASES[name]
    torch.manual_seed(17)
    model = model_class(config_class(**{**BASE, **changes}))
    with torch.no_grad():
        for key, p in model.named_parameters():
            if p.dim() == 1:
                p.copy_(torch.randn(p.shape) * 0.3 + (1.0 if "norm" in key else 0.0))
            else:
                p.copy_(torch.randn(p.shape) * (3.0 if "q_proj" in key or "k_proj" in key else 1.0) / p.shape[1] ** 0.5)
    model.to(dtype).save_pretrained(folder)
    return folder


@torch.no_grad()
def reference(folder, ids):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    out = model(input_ids=torch.tensor(ids)[None], output_hidden_states=True, use_cache=False)
    hidden = {f"hidden.{i}": h[0] for i, h in enumerate(out.hidden_states[1:-1])}  # the last one is behind the final norm
    return {**hidden, "logits": out.logits[0]}


def worst_error(ours, theirs):
    """The largest relative L2 error of any position of any tensor that Transformers shows."""
    return max(((ours[k] - theirs[k]).norm(dim=1) / theirs[k].norm(dim=1)).max().item() for k in theirs)


def perplexity(out, ids):
    return torch.nn.functional.cross_entropy(out["logits"][:-1].double(), torch.tensor(ids[1:])).exp().item()


def token_ids():
    return [(37 * i + i * i // 5) % BASE["vocab_size"] for i in range(LENGTH)]


def edit_config(folder, changes, remove=()):
    path = folder / "config.json"
    config = {k: v for k, v in json.loads(path.read_text()).items() if k not in remove}
    path.write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize("name", CASES)
def test_forward(name, forward_dump, tmp_path):
    folder, ids = make_model(name, tmp_path / "model"), token_ids()
    theirs, ours = reference(folder, ids), forward_dump(folder, ids)
    assert worst_error(ours, theirs) <= TOLERANCE
    assert perplexity(ours, ids) == pytest.approx(perplexity(theirs, ids), rel=TOLERANCE)
    edit_config(folder, CASES[name][2])
    assert worst_error(forward_dump(folder, ids), theirs) > TOLERANCE, "the mutant was not found"


OLD_SPELLINGS = {
    "theta": dict(rope_theta=500000.0, rope_scaling=None),
    "linear": dict(rope_theta=10000.0, rope_scaling=dict(type="linear", factor=4.0)),
    "llama3": dict(rope_theta=10000.0, rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                         original_max_position_embeddings=64)),
    "yarn": dict(rope_theta=10000.0, rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=64)),
    "window": dict(rope_theta=10000.0),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", OLD_SPELLINGS)
def test_old_config(name, dtype, forward_dump, tmp_path):
    """`rope_theta`, `rope_scaling` (`type` or `rope_type`) and `torch_dtype` mean what `rope_parameters` and `dtype` mean."""
    folder, ids = make_model(name, tmp_path / "model", dtype), token_ids()
    theirs = reference(folder, ids)
    new = forward_dump(folder, ids)
    edit_config(folder, dict(OLD_SPELLINGS[name], torch_dtype=str(dtype).removeprefix("torch.")), remove=("rope_parameters", "dtype"))
    assert "rope_parameters" not in json.loads((folder / "config.json").read_text())
    old = forward_dump(folder, ids)
    assert worst_error(old, theirs) <= TOLERANCE
    assert all(torch.equal(old[k], new[k]) for k in old)


def test_bundled_model(forward_dump, tiny_llama, windows, tmp_path):
    ids = windows[0].tolist()
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder, ignore=shutil.ignore_patterns("reference.*"))
    assert worst_error(forward_dump(folder, ids), reference(folder, ids)) <= TOLERANCE
