#!/usr/bin/env python3
"""Makes reference.safetensors: weights, Hessians, and the codes and losses that tests/conformance/reference_gptq.py gives for them.

usage: make_reference.py MODEL TEXT OUT [--full] [--rows N]
MODEL is tests/models/tiny-llama, TEXT the calibration corpus. Tensors: W.<case> [rows, cols], H.<case> packed upper triangle of
the sum of x xᵀ, codes.<n> [rows, cols] u8; the metadata's "tests" is a JSON list of settings with the expected losses. --full takes every
combination of settings instead of a selection.
"""
import argparse
import itertools
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "conformance"))
import reference_gptq as reference  # noqa: E402

STORED = {"F32": None, "F16": torch.float16, "BF16": torch.bfloat16}


def stored_grid(w, bits, sym, mse, stored):
    """reference.grid, but every candidate's scale is rounded to `stored` before its error is measured."""
    lo, hi = w.min(1, keepdim=True).values.clamp(max=0), w.max(1, keepdim=True).values.clamp(min=0)
    shrink = [1 - i / 100 for i in range(80 if mse else 1)]
    grids = [reference.grid(torch.cat([p * lo, p * hi], 1), bits, sym, mse=False) for p in shrink]
    scale = torch.stack([s if stored is None else s.to(stored).double() for s, _ in grids])  # [candidates, rows]
    zero = torch.stack([z for _, z in grids])
    error = (reference.snap(w, scale[:, :, None], zero[:, :, None], bits) - w).abs().pow(2.4).sum(2)
    best = error.argmin(0, keepdim=True)
    return scale.gather(0, best)[0], zero.gather(0, best)[0]


def gptq_codes(w, h, bits, group, sym, order, mse, stored):
    """reference.gptq with the codes, Σ (w - q)² / (2 U²), and scales that are rounded to `stored` when it is not None."""
    reference.MSE = mse
    w, h = w.double().clone(), h.clone()

    def grid(x):
        return stored_grid(x, bits, sym, mse, stored)

    static = order == "static"
    fixed = [grid(w[:, a:a + group]) for a in range(0, w.shape[1], group)] if static else None
    dead = h.diagonal() == 0
    h[dead, dead] = 1
    w[:, dead] = 0
    perm = torch.argsort(h.diagonal(), descending=True, stable=True) if order != "none" else torch.arange(len(h))
    w, h = w[:, perm], h[perm][:, perm]
    h += torch.eye(len(h), dtype=h.dtype) * 0.01 * h.diagonal().mean()
    u = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    values, codes, loss = torch.zeros_like(w), torch.zeros_like(w), 0.0
    for j in range(w.shape[1]):
        if static:
            s, z = fixed[int(perm[j]) // group]
        elif j % group == 0:
            s, z = grid(w[:, j:j + group])
        codes[:, j] = torch.clamp(torch.round(w[:, j] / s) + z, 0, 2 ** bits - 1)
        values[:, j] = s * (codes[:, j] - z)
        e = (w[:, j] - values[:, j]) / u[j, j]
        loss += (e * e).sum().item() / 2
        w[:, j + 1:] -= e[:, None] * u[j, j + 1:]
    back = torch.argsort(perm)
    return codes[:, back].to(torch.uint8), values[:, back], loss


def hessian_of(module, model, samples):
    total = torch.zeros(module.in_features, module.in_features, dtype=torch.float64)

    def watch(_, inputs, __):
        x = inputs[0].reshape(-1, inputs[0].shape[-1]).double()
        total.add_(x.T @ x)

    hook = module.register_forward_hook(watch)
    with torch.no_grad():
        for x in samples:
            model(input_ids=x[None], use_cache=False)
    hook.remove()
    return total


def make_cases(model_dir, text, rows):
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    ids = torch.tensor(AutoTokenizer.from_pretrained(model_dir)(pathlib.Path(text).read_text(), add_special_tokens=False)["input_ids"])
    samples = [ids[i * 256:(i + 1) * 256] for i in range(16)]
    layer = model.model.layers[2]
    q, down = layer.self_attn.q_proj, layer.mlp.down_proj
    torch.manual_seed(1)
    x = torch.randn(640, 160, dtype=torch.float64)
    x = x + 0.8 * torch.roll(x, 1, 1) + torch.randn(640, 1, dtype=torch.float64)
    x *= torch.rand(160, dtype=torch.float64) + 0.1
    x[:, 37] = 0
    return {
        "qkv": (q.weight[:rows].detach(), hessian_of(q, model, samples)),
        "down": (down.weight[:rows, :320].detach(), hessian_of(down, model, samples)[:320, :320]),
        "random": (torch.randn(rows, 160), x.T @ x),
    }


def settings(full):
    """A symmetric range makes its extreme value an exact tie, -(2^bits - 1) / 2 steps. With unrounded scales and parameters from live
    weights the last bit of fp64 decides it (two orders of summation differ in 1 % of the codes), so those use stored scales."""
    every = itertools.product((2, 3, 4, 8), (True, False), (-1, 32, 128), ("none", "static", "dynamic"), (False, True))
    for n, (bits, sym, group, order, mse) in enumerate(every):
        for stored in ("F16", "BF16") if sym and order != "static" else ("F16", "F32"):
            if full or (n + (stored == "F16")) % 5 == 0:
                yield dict(bits=bits, sym=sym, group=group, order=order, mse=mse, stored=stored)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("text")
    p.add_argument("out")
    p.add_argument("--full", action="store_true")
    p.add_argument("--rows", type=int, default=32)
    args = p.parse_args()
    torch.set_num_threads(1)  # small matrices
    tensors, tests = {}, []
    cases = make_cases(args.model, args.text, args.rows)
    chosen = list(settings(args.full))
    for i, (name, (w, h)) in enumerate(cases.items()):
        h = h.float().double()
        tensors[f"W.{name}"] = w.contiguous()
        tensors[f"H.{name}"] = h.float()[tuple(torch.triu_indices(len(h), len(h)))]
        for n, s in enumerate(chosen):
            if not args.full and n % len(cases) != i:
                continue
            group = w.shape[1] if s["group"] < 0 else s["group"]
            codes, values, loss = gptq_codes(w, h, s["bits"], group, s["sym"], s["order"], s["mse"], STORED[s["stored"]])
            if s["stored"] == "F32" and not args.full:
                plain = reference.gptq(w, h, s["bits"], group, s["sym"], s["order"] != "none", s["order"] == "static")
                differ = ((plain - values).abs() > 1e-9).double().mean().item()  # ties of the extremes fall either way
                assert differ < 0.02, (name, s, differ)
            tensors[f"codes.{len(tests)}"] = codes.contiguous()
            d = w.double() - values
            tests.append(dict(case=name, **s, loss=loss, output=((d @ h) * d).sum().item()))
    save_file(tensors, args.out, metadata={"tests": json.dumps(tests)})
    print(f"{len(tests)} tests, {pathlib.Path(args.out).stat().st_size} bytes")


if __name__ == "__main__":
    main()
