"""The tokenizer inside a GGUF file as llama.cpp runs it: byte-level BPE and SentencePiece vocabularies of real models, on recorded vectors."""
import json
import os
import shutil
from pathlib import Path

import pytest
import transformers
from conftest import ROOT, program_path, run
from readers import LlamaCpp

FIXTURES = Path(os.environ.get("MPIQUANT_FIXTURES", ROOT.parent / "shared" / "fixtures"))

# tokenizer: (vectors, size of the vocabulary, ids of the tokens that begin and end a text)
TOKENIZERS = {"gpt2": ("gpt-2", 50257, 50256, 50256), "llama3": ("llama-bpe", 128256, 128000, 128001), "qwen3": ("qwen2", 151669, 151643, 151645),
              "llama2-spm": ("llama-spm", 32000, 1, 2)}


def vectors(name):
    """[(text, ids)] as llama.cpp's own tests have them."""
    folder = FIXTURES / "tokenizers" / "vectors"
    texts = (folder / f"{name}.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    ids = [[int(i) for i in line.split()] for line in (folder / f"{name}.out").read_text().splitlines()]
    return list(zip(texts, ids))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_llama_cpp(name, tmp_path):
    source = FIXTURES / "tokenizers" / name
    if not source.exists():
        print(f"\n{source} is absent: this test did not run (set MPIQUANT_FIXTURES)")
        pytest.skip(f"{source} is absent")
    vector, vocabulary, first, last = TOKENIZERS[name]
    config = transformers.LlamaConfig(vocab_size=vocabulary, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1,
                                      num_key_value_heads=1, max_position_embeddings=512, bos_token_id=first, eos_token_id=last, tie_word_embeddings=True)
    model = tmp_path / "model"
    transformers.LlamaForCausalLM(config).save_pretrained(model)
    for file in source.glob("tokenizer*"):
        shutil.copy(file, model)
    run(program_path("MPIQUANT_BIN", "mpiquant"), "quantize", model, "--method", "rtn", "--format", "gguf:f16", "--output", tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*.gguf")
    reader = LlamaCpp(path)
    texts = vectors(vector)
    assert len(texts) > 40
    wrong = [(text, ids) for text, ids in texts if reader.tokenize(text, parse_special=False) != ids]
    assert json.dumps(wrong) == "[]"
