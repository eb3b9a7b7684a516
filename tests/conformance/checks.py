"""What every suite asserts of a reader, and the three ways in which an output is spoilt to see that the assertions can fail."""
import shutil

import torch
from safetensors.torch import load_file, save_file

from readers import linears, load_plain, logits, mean_kl


def dense_weights(folder):
    """Our own decoded weights, fp32, by Hugging Face tensor name."""
    return {k: v for file in sorted(folder.glob("model*.safetensors")) for k, v in load_file(file).items()}


def unequal(theirs, ours):
    """Names of linears whose decoded weights differ in any bit from ours, cast to the reader's dtype."""
    assert theirs, "the reader shows no weights"
    return [name for name, w in theirs.items() if not torch.equal(w, ours[name + ".weight"].to(w.dtype))]


def our_logits(forward_dump, folder, windows, activations="float"):
    """[n, T, V] of a dense repository by the program's own forward pass."""
    return torch.stack([forward_dump(folder, w.tolist(), activations)["logits"] for w in windows])


def zero_group(tensors, group):
    """Scales of one group of every row; `group` is its index along the axis of groups."""
    for name, t in tensors.items():
        if name.endswith("scales"):
            t[group, :] = 0
        elif name.endswith("weight_scale"):
            t[:, group] = 0


def shift_zero_points(tensors, bits):
    """Every zero point is off by one (fields are packed into 32-bit words; none of them is at its end of the range in symmetric models)."""
    one = sum(1 << (bits * i) for i in range(32 // bits))
    step = torch.tensor(one - (1 << 32) if one >= 1 << 31 else one, dtype=torch.int32)
    for name, t in tensors.items():
        if name.endswith("qzeros") or name.endswith("weight_zero_point"):
            t -= step


def swap_rows(tensors):
    """Two rows of W: columns of qweight, rows of weight_packed."""
    for name, t in tensors.items():
        if name.endswith("qweight"):
            t[:, [3, 5]] = t[:, [5, 3]]
        elif name.endswith("weight_packed"):
            t[[3, 5]] = t[[5, 3]]


def spoilt(folder, out, module, change):
    """A copy of a repository in which `change` was applied to the stored tensors of one module."""
    shutil.copytree(folder, out)
    files = [f for f in out.glob("*.safetensors") if any(k.startswith(module + ".") for k in load_file(f))]
    assert len(files) == 1, f"{module} is in {len(files)} files"
    tensors = load_file(files[0])
    before = {k: t.clone() for k, t in tensors.items()}
    change({k: t for k, t in tensors.items() if k.startswith(module + ".")})
    assert any(not torch.equal(before[k], tensors[k]) for k in tensors), "the mutant changes nothing"
    save_file(tensors, files[0], {"format": "pt"})
    return out


def check_reader(load, weights, repository, dense, windows, ours, limit):
    """Weights bit for bit, and the divergence of the reader's logits from ours."""
    model = load(repository)
    assert len(linears(model)) == len(linears(load_plain(dense)))
    assert unequal(weights(model), dense_weights(dense)) == []
    assert mean_kl(ours, logits(model, windows)) <= limit


def check_mutant(load, weights, repository, dense, windows, ours, limit):
    """Both assertions of check_reader fail."""
    model = load(repository)
    assert unequal(weights(model), dense_weights(dense)) != []
    assert mean_kl(ours, logits(model, windows)) > limit
