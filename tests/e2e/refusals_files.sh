#!/usr/bin/env bash
# Models that are damaged, incomplete or of another kind.
# shellcheck source=tests/e2e/refusals_lib.sh
source "$(dirname "$0")/refusals_lib.sh"

copy; truncate -s 4000000 "$folder/model/$shard1"
refused "truncated shard" 3 "$shard1 has .* truncated" 'fetch it again' "${quantize[@]}"
copy; truncate -s 5 "$folder/model/$shard1"
refused "shard of five bytes" 3 "$shard1 has 5 bytes" 'fetch it again' "${quantize[@]}"
copy; : >"$folder/model/$shard2"
refused "empty shard" 3 "$shard2 has 0 bytes" 'fetch it again' "${quantize[@]}"
copy; rm "$folder/model/$shard2"
refused "missing shard" 3 "$shard2 is missing" 'fetch the model again' "${quantize[@]}"
copy; printf '\xff\xff\xff\xff\xff\xff\xff\x7f' | dd of="$folder/model/$shard2" conv=notrunc status=none
refused "absurd header length" 3 "$shard2 states a header of" 'fetch it again' "${quantize[@]}"
copy; printf '\x00\x00\x60\x05\x00\x00\x00\x00' | dd of="$folder/model/$shard2" conv=notrunc status=none
refused "header length beyond the file" 3 "$shard2 has .* states a header of" 'fetch it again' "${quantize[@]}"
copy; printf 'x' | dd of="$folder/model/$shard2" bs=1 seek=8 conv=notrunc status=none
refused "header that is no JSON" 3 "$shard2: the header is not a JSON object" 'no safetensors file' "${quantize[@]}"

overlap='a, b = sorted(h.items(), key=lambda e: e[1].get("data_offsets", [0])[0])[1:3]; o = b[1]["data_offsets"]'
copy; damage "$shard1" "$overlap; n = o[1] - o[0]; o[0] -= 2; o[1] = o[0] + n"
refused "overlapping tensors" 3 "$shard1: tensor .* overlap" 'fetch it again' "${quantize[@]}"
copy; damage "$shard1" "$overlap; o[0] += 2; o[1] += 2"
refused "tensors with a hole" 3 "$shard1: tensor .* hole" 'fetch it again' "${quantize[@]}"
copy; damage "$shard1" "$overlap; o[0] += 1"
refused "misaligned tensor" 3 "$shard1: tensor .* has .* bytes but its shape and dtype need" 'damaged' "${quantize[@]}"
copy; damage "$shard1" "$overlap; o.reverse()"
refused "tensor that ends before it begins" 3 "$shard1: tensor .* before it begins" 'damaged' "${quantize[@]}"
copy; damage "$shard1" 'd += bytes(10)'
refused "bytes behind the last tensor" 3 "$shard1 has .* bytes at the end" 'fetch it again' "${quantize[@]}"
copy; damage "$shard1" 'k = [k for k in h if k != "__metadata__"][0]; h = json.dumps(h).encode()[:-1] + b", " + json.dumps(k).encode() + b": 1}"'
refused "duplicate key in a header" 3 "$shard1: the header has the key .* twice" 'remove one' "${quantize[@]}"
copy; config 's/{/{"hidden_size": 256,/'
refused "duplicate key in config.json" 3 'config.json has the key "hidden_size" twice' 'remove one' "${quantize[@]}"

copy; damage "$shard2" 'del h["model.norm.weight"]' ; damage "$shard2" 'd = d[:max(e.get("data_offsets", [0, 0])[1] for e in h.values())]' || true
refused "missing tensor of the index" 3 'model.norm.weight|hole|bytes' 'again' "${quantize[@]}"
copy; sed -i '/"model.layers.3.mlp.up_proj.weight"/d' "$folder/model/model.safetensors.index.json"
refused "missing tensor of the model" 3 'the tensor model.layers.3.mlp.up_proj.weight is missing' 'config.json calls for it' "${quantize[@]}"
copy; config 's/"hidden_size": 256/"hidden_size": 512/'
refused "wrong shape" 3 'embed_tokens.weight has shape \[2048, 256\]' 'config.json calls for \[2048, 512\]' "${quantize[@]}"
copy; damage "$shard2" 'd[at("model.layers.5.mlp.down_proj.weight", 3 * 768 + 5):][:0]; i = at("model.layers.5.mlp.down_proj.weight", 3 * 768 + 5); d[i:i + 2] = b"\xc0\x7f"'
refused "NaN in a weight" 3 'model.layers.5.mlp.down_proj.weight holds nan at row 3, column 5' 'is the download whole' "${quantize[@]}"
copy; damage "$shard1" 'i = at("model.embed_tokens.weight", 2047 * 256); d[i:i + 2] = b"\x80\xff"'
refused "infinity in an embedding" 3 'model.embed_tokens.weight holds -inf at row 2047, column 0' 'is the download whole' "${quantize[@]}"
copy; damage "$shard2" 'i = at("model.norm.weight", 7); d[i:i + 2] = b"\x80\x7f"'
refused "infinity in a norm" 3 'model.norm.weight holds inf at row 7' 'is the download whole' "${quantize[@]}"
copy; damage "$shard2" 'h["model.norm.weight"]["dtype"] = "F9_E9M9"'
refused "unknown dtype" 3 'model.norm.weight. has the dtype .F9_E9M9' 'convert the model' "${quantize[@]}"
copy; damage "$shard2" 'h["model.norm.weight"]["dtype"] = "I16"'
refused "weights that are integers" 3 'model.norm.weight has dtype I16' 'supported: F32, F16, BF16' "${quantize[@]}"

copy; config 's/LlamaForCausalLM/MambaForCausalLM/'
refused "unknown architecture" 3 "architecture 'MambaForCausalLM' is not supported" 'supported: .*LlamaForCausalLM' "${quantize[@]}"
copy; config 's/"silu"/"gelu"/'
refused "unsupported value" 3 'hidden_act = "gelu" is not supported' 'supported: .*silu' "${quantize[@]}"
copy; config '/"num_attention_heads"/d'
refused "missing field" 3 "the key 'num_attention_heads' is missing" 'cannot be built without it' "${quantize[@]}"
copy; config 's/"hidden_size": 256/"hidden_size": -256/'
refused "impossible value" 3 'hidden_size is -256' 'must be an integer from 1' "${quantize[@]}"
copy; : >"$folder/model/config.json"
refused "empty config.json" 3 'config.json is not valid JSON' 'correct it or fetch it again' "${quantize[@]}"
copy; printf '{"architectures": ["\xff\xfe"]}' >"$folder/model/config.json"
refused "config.json that is not UTF-8" 3 'config.json is not valid JSON.*UTF-8' 'correct it or fetch it again' "${quantize[@]}"
copy; rm "$folder/model/config.json"
refused "no config.json" 3 'cannot open .*config.json' 'check the path' "${quantize[@]}"
copy; config 's/{/{"quantization_config": {"quant_method": "awq"},/'
refused "quantized already" 3 'quantization_config' 'unquantized models' "${quantize[@]}"
copy; rm "$folder/model/$shard1" "$folder/model/$shard2" "$folder/model/model.safetensors.index.json"
refused "no weights" 3 'has neither model.safetensors nor' 'fetch or convert the model' "${quantize[@]}"
copy; sed -i "s/$shard2/..\/$shard2/" "$folder/model/model.safetensors.index.json"
refused "shard outside of the model's folder" 3 'a shard is a plain file name' 'index' "${quantize[@]}"

# The head's rows decide about the vocabulary: half of them are taken away from model and configuration, not from the tokenizer.
copy; config 's/"vocab_size": 2048/"vocab_size": 1024/'
for name in model.embed_tokens.weight lm_head.weight; do
  for shard in "$shard1" "$shard2"; do
    damage "$shard" "
if '$name' in h:
    begin, end = h['$name']['data_offsets']; half = (end - begin) // 2
    del d[begin + half:end]
    h['$name'].update(shape=[1024, 256], data_offsets=[begin, begin + half])
    for key, entry in h.items():
        if key != '__metadata__' and key != '$name' and entry['data_offsets'][0] >= end:
            entry['data_offsets'] = [o - half for o in entry['data_offsets']]"
  done
done
refused "tokenizer of another model" 3 'token id .* vocabulary has 1024' 'tokenizer and model do not belong together' "${quantize[@]}"
copy; printf '{"model": {"type": "BPE", "vocab": {"a": 0, "a": 1}, "merges": []}}' >"$folder/model/tokenizer.json"
refused "duplicate key in tokenizer.json" 3 'tokenizer.json has the key "a" twice' 'remove one' "${quantize[@]}"
copy; rm "$folder/model/tokenizer.json"
refused "no tokenizer" 3 'has no tokenizer.json and no tokenizer.model' 'add one, or give token ids' "${quantize[@]}"

# GGUF files.
copy
"$program" quantize "$folder/model" --method rtn --group-size 32 --format gguf:q8_0 --output "$folder/gguf" --quiet
gguf=$(echo "$folder"/gguf/*.gguf)
damaged() { cp "$gguf" "$folder/damaged.gguf"; "$@"; }
evaluate=(evaluate "$folder/damaged.gguf" --ids "$folder/ids.json")
echo '[[1, 2, 3, 4]]' >"$folder/ids.json"
damaged truncate -s 3000000 "$folder/damaged.gguf"
refused "truncated GGUF file" 3 'damaged.gguf.* truncated' 'fetch it again' "${evaluate[@]}"
damaged truncate -s 1000 "$folder/damaged.gguf"
refused "GGUF file cut in its header" 3 'damaged.gguf' 'fetch it again' "${evaluate[@]}"
printf 'GGML' | damaged dd of="$folder/damaged.gguf" conv=notrunc status=none
refused "another magic" 3 'does not begin with GGUF' 'no GGUF file' "${evaluate[@]}"
printf '\xff\xff\xff\xff\xff\xff\xff\x7f' | damaged dd of="$folder/damaged.gguf" bs=1 seek=8 conv=notrunc status=none
refused "more tensors than fit" 3 'states 9223372036854775807 tensors' 'fetch it again' "${evaluate[@]}"
# The offset of the second tensor info is moved by one byte.
damaged python3 - "$folder/damaged.gguf" <<'PYTHON'
import struct
import sys

raw = bytearray(open(sys.argv[1], "rb").read())
name = b"blk.0.attn_norm.weight"
at = raw.index(struct.pack("<Q", len(name)) + name) + 8 + len(name)
(dims,) = struct.unpack_from("<I", raw, at)
offset = at + 4 + 8 * dims + 4
(old,) = struct.unpack_from("<Q", raw, offset)
struct.pack_into("<Q", raw, offset, old + 1)
open(sys.argv[1], "wb").write(raw)
PYTHON
refused "misaligned tensor of a GGUF file" 3 'blk.0.attn_norm.weight.* begins at' 'follows the order of the infos' "${evaluate[@]}"
finish
