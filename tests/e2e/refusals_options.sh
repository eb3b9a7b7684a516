#!/usr/bin/env bash
# Options and recipes that cannot be carried out.
# shellcheck source=tests/e2e/refusals_lib.sh
source "$(dirname "$0")/refusals_lib.sh"
copy
refused "unknown command" 2 '"quantise" is no command' 'mpiquant --help' quantise
refused "unknown option" 2 '--bit( |.)' '--bits|--help' "${quantize[@]}" --bit 4
refused "a word too many" 2 'argument|positional' '--help' "${quantize[@]}" more
refused "five bits" 2 'bits = 5' 'choose one of these' "${quantize[@]}" --bits 5
refused "bits in words" 2 'bits' 'number|--help' "${quantize[@]}" --bits four
export DNNL_MAX_CPU_ISA=AVX2 ONEDNN_MAX_CPU_ISA=AVX2  # oneDNN's way of making a processor an older one
refused "no instructions for bf16" 2 'compute bf16' 'use --compute f32' "${quantize[@]}" --compute bf16
unset DNNL_MAX_CPU_ISA ONEDNN_MAX_CPU_ISA
refused "impossible group" 2 '512' '--group-size 256' "${quantize[@]}" --group-size 512
refused "no group at all" 2 'group' 'positive|-1' "${quantize[@]}" --group-size 0
refused "unknown format" 2 'onnx' 'gptq' "${quantize[@]}" --format onnx
refused "dynamic order without g_idx" 2 'groups in activation order' 'use --act-order static' "${quantize[@]}" --format gguf:q4_0 --act-order dynamic
refused "stages that do not divide the ranks" 2 'stages' '--stages|stages' "${quantize[@]}" --schedule staged --stages 3
refused "both forms of a switch" 2 'contradict' 'keep one' "${quantize[@]}" --sym --no-sym
refused "a batch script for many numbers of ranks" 2 "sbatch with --scale" "give --nodes" plan "$folder/model" --scale 8,16 --sbatch
refused "no output" 2 '--output is missing' '--help' quantize "$folder/model" --calibration "$text"
refused "8-bit activations of what is no GGUF file" 2 "no GGUF file" "leave the option away" evaluate "$folder/model" --text "$text" --activations q8_0
refused "unknown activations" 2 "activations q4 is unknown|--activations" "q8_0" evaluate "$folder/model" --text "$text" --activations q4
refused "missing model" 3 'neither a directory nor in the local' 'hf download' quantize org/missing --calibration "$text" --output "$folder/run/out"
finish
