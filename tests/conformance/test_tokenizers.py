"""Token ids equal those of Hugging Face tokenizers: recorded vectors, whole texts, random Unicode, and every part by itself."""
import json
import os
import random
import shutil
import unicodedata
from pathlib import Path

import pytest
from conftest import ROOT, program_path, run
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

FIXTURES = Path(os.environ.get("MPIQUANT_FIXTURES", ROOT.parent / "shared" / "fixtures"))
BUNDLED = ROOT / "tests" / "models" / "tiny-llama"
REAL = ["models/stories260K", "models/babyllama-tok105", "tokenizers/gpt2", "tokenizers/llama3", "tokenizers/qwen3"]
SEED = 20


def fixture(name):
    path = FIXTURES / name
    if not path.exists():
        print(f"\n{path} is absent: this test did not run (set MPIQUANT_FIXTURES)")
        pytest.skip(f"{path} is absent")
    return path


def ours(directory, texts, tmp_path, special=False):
    file = tmp_path / "texts.json"
    file.write_text(json.dumps(texts))
    lines = run(program_path("MQ_TOKENIZE", "mq_tokenize"), directory, file, *(["special"] if special else []))
    return [[int(i) for i in line.split()] for line in lines.split("\n")[:-1]]


def theirs(directory, texts, special=False):
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    return [e.ids for e in tokenizer.encode_batch_fast(texts, add_special_tokens=special)]


def first_difference(texts, got, expected):
    """What differs first, or None."""
    if len(got) != len(texts):
        return f"{len(got)} results for {len(texts)} texts"
    for text, g, e in zip(texts, got, expected):
        if g != e:
            at = next((i for i, (a, b) in enumerate(zip(g, e)) if a != b), min(len(g), len(e)))
            return f"{text[:200]!r}: from token {at} {g[at:at + 8]}, expected {e[at:at + 8]}"
    return None


def assert_equal(directory, texts, tmp_path):
    for special in (False, True):
        assert first_difference(texts, ours(directory, texts, tmp_path, special), theirs(directory, texts, special)) is None


WORDS = ["the", "Hello", "'s", "'LL", "'\u017f", "\u212a", "don't", "x" * 40, "12345", "\u0663\u0664", "\u00bd", "\u2167", "_", "<0x41>", "\u2581",
         "\u2581the", "<s>", "</s>", "<unk>", "<|begin|>", "<|end|>", "<|endoftext|>", "<|im_start|>", "<|begin_of_text|>", "<think>", "!?...",
         "a\u0301", "e\u0300\u0323", "\u1e9b\u0323", "\u212b", "\u1100\u1161\u11a8", "\uac01", "\ufb01", "\U0001F468\u200d\U0001F469\u200d\U0001F467",
         "\U0001F1E9\U0001F1EA", "\u2764\ufe0f", "\u6f22\u5b57", "\u3072\u3089", "\u0e44\u0e17\u0e22", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0645\u0631\u062d\u0628\u0627",
         "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd", "\u0130", "\u00df", "\u01c5", "\ufffd", "\U0010ffff", "\ue000"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\xa0", "\u1680", "\u180e", "\u2003", "\u2028", "\u2029",
          "\u202f", "\u205f", "\u3000", "\ufeff", "\u200b", "\u200d"]


def assigned(code):
    return not 0xD800 <= code < 0xE000 and unicodedata.category(chr(code)) != "Cn"


def random_texts(count, seed=SEED, extra=()):
    """Strings of words, white space, control characters, combining marks, added tokens and code points from everywhere."""
    draw = random.Random(seed)
    words = WORDS + list(extra)
    codes = [c for c in range(0x30000) if assigned(c)]
    pieces = [lambda: draw.choice(words), lambda: draw.choice(SPACES), lambda: chr(draw.randrange(0x20, 0x7F)),
              lambda: chr(draw.randrange(0xA0)), lambda: chr(draw.choice(codes)), lambda: chr(draw.randrange(0x300, 0x370)),
              lambda: " " * draw.randrange(1, 20), lambda: draw.choice("\n \t") * draw.randrange(1, 9)]
    return [""] + ["".join(draw.choice(pieces)() for _ in range(draw.randrange(1, 30))) for _ in range(count)]


@pytest.mark.parametrize("vectors, name", [("gpt-2", "gpt2"), ("llama-bpe", "llama3"), ("llama-spm", "llama2-spm"), ("qwen2", "qwen3")])
def test_recorded_vectors(vectors, name, tmp_path):
    folder = fixture("tokenizers/vectors")
    texts = (folder / f"{vectors}.inp").read_bytes().decode("utf-8").split("\n__ggml_vocab_test__\n")
    expected = [[int(i) for i in line.split()] for line in (folder / f"{vectors}.out").read_text().split("\n")[: len(texts)]]
    assert len(texts) > 40
    assert first_difference(texts, ours(fixture(f"tokenizers/{name}"), texts, tmp_path), expected) is None


@pytest.mark.parametrize("name", REAL)
def test_fixture_texts(name, tmp_path):
    directory = fixture(name)
    texts = [p.read_bytes().decode("utf-8") for p in sorted(fixture("text").iterdir())]
    assert len(texts) >= 7
    assert first_difference(texts, ours(directory, texts, tmp_path), theirs(directory, texts)) is None


def test_bundled_tokenizer(tmp_path):
    texts = [p.read_text(encoding="utf-8") for p in sorted((ROOT / "configs" / "calibration").glob("*.txt"))]
    assert texts
    assert_equal(BUNDLED, texts + random_texts(3000), tmp_path)


@pytest.mark.parametrize("name", REAL)
def test_random_unicode(name, tmp_path):
    directory = fixture(name)
    added = [t["content"] for t in json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]]
    assert_equal(directory, random_texts(2000, extra=added[:20]), tmp_path)


def test_tokenizer_model_equals_tokenizer_json(tmp_path):
    directory = fixture("models/stories260K")
    for file in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(directory / file, tmp_path / file)
    texts = [p.read_bytes().decode("utf-8") for p in sorted(fixture("text").glob("t*"))] + random_texts(1000)
    for special in (False, True):
        assert first_difference(texts, ours(tmp_path, texts, tmp_path, special), theirs(directory, texts, special)) is None


def test_tokenizer_model_of_llama_2(tmp_path):
    """A vocabulary that exists as tokenizer.model alone: against SentencePiece itself, which knows no added tokens in texts."""
    from sentencepiece import SentencePieceProcessor

    directory = fixture("tokenizers/llama2-spm")
    theirs_alone = SentencePieceProcessor(model_file=str(directory / "tokenizer.model"))
    texts = [p.read_bytes().decode("utf-8") for p in sorted(fixture("text").iterdir())]
    texts += [t for t in random_texts(3000) if not any(special in t for special in ("<s>", "</s>", "<unk>"))]
    assert len(texts) > 2000
    assert first_difference(texts, ours(directory, texts, tmp_path), theirs_alone.encode(texts)) is None


def trained(normalizer=None, pre_tokenizer=None, post_processor=None, added=(), alphabet="", corpus=None, **options):
    """A small BPE tokenizer of the given parts, trained on a fixed text."""
    from tokenizers import trainers

    tokenizer = Tokenizer(models.BPE(**options))
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    affixes = {k: v for k, v in options.items() if k in ("continuing_subword_prefix", "end_of_word_suffix")}
    trainer = trainers.BpeTrainer(vocab_size=600, show_progress=False, special_tokens=["<unk>", "<s>", "</s>"],
                                  initial_alphabet=list(alphabet) or pre_tokenizers.ByteLevel.alphabet(), **affixes)
    tokenizer.train_from_iterator(corpus or random_texts(300, seed=3) + ["the quick brown fox, the lazy dog 1234 hello hello world's end. "] * 40, trainer)
    if post_processor:
        tokenizer.post_processor = post_processor
    if added:
        tokenizer.add_tokens([t for t in added if not t.special])
        tokenizer.add_special_tokens([t for t in added if t.special])
    return tokenizer


N, P = normalizers, pre_tokenizers
BYTES = P.ByteLevel(add_prefix_space=False, use_regex=False)
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CL100K = r"(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
KIMI = r"[\p{Han}]+|[\p{Lu}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lo}\p{M}&&[^\p{Han}]]+|\p{N}{,3}| ?[^\s\p{L}\p{N}]+"
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
DEEPSEEK = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"


def split(pattern, behavior="isolated", invert=False):
    return P.Sequence([P.Split(Regex(pattern), behavior, invert), BYTES])


BYTE_LEVEL = {
    "gpt2": dict(pre_tokenizer=P.ByteLevel(add_prefix_space=False)),
    "prefix space": dict(pre_tokenizer=P.ByteLevel(add_prefix_space=True)),
    "no regex": dict(pre_tokenizer=BYTES),
    "smollm": dict(pre_tokenizer=P.Sequence([P.Digits(individual_digits=True), P.ByteLevel(add_prefix_space=False)])),
    "digits": dict(pre_tokenizer=P.Sequence([P.Digits(individual_digits=False), BYTES])),
    "punctuation": dict(pre_tokenizer=P.Sequence([P.Punctuation(), BYTES])),
    "punctuation contiguous": dict(pre_tokenizer=P.Sequence([P.Punctuation("contiguous"), BYTES])),
    "whitespace": dict(pre_tokenizer=P.Sequence([P.Whitespace(), BYTES])),
    "whitespace split": dict(pre_tokenizer=P.Sequence([P.WhitespaceSplit(), BYTES])),
    "o200k": dict(pre_tokenizer=split(O200K)),
    "cl100k": dict(pre_tokenizer=split(CL100K, "removed", True)),
    "kimi": dict(pre_tokenizer=split(KIMI)),
    "bloom": dict(pre_tokenizer=split(BLOOM)),
    "deepseek": dict(pre_tokenizer=split(DEEPSEEK)),
    "types": dict(pre_tokenizer=split(r"\w+|\d|\h\h|\W|\D|\u00e9|\x41|a{2}|^b|c$|(?m:d.)|(?<=e)f|[\S]")),
    "empty matches": dict(pre_tokenizer=split(r"\s*")),
    **{b: dict(pre_tokenizer=split(r"[ \n]", b)) for b in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")},
    "string": dict(pre_tokenizer=P.Sequence([P.Split(" t", "merged_with_next"), BYTES])),
    "nfc": dict(normalizer=N.NFC(), pre_tokenizer=P.ByteLevel()),
    "nfd": dict(normalizer=N.NFD(), pre_tokenizer=P.ByteLevel()),
    "nfkc": dict(normalizer=N.NFKC(), pre_tokenizer=P.ByteLevel()),
    "nfkd": dict(normalizer=N.NFKD(), pre_tokenizer=P.ByteLevel()),
    "lower": dict(normalizer=N.Lowercase(), pre_tokenizer=P.ByteLevel()),
    "accents": dict(normalizer=N.Sequence([N.NFD(), N.StripAccents()]), pre_tokenizer=P.ByteLevel()),
    "nmt": dict(normalizer=N.Nmt(), pre_tokenizer=P.ByteLevel()),
    "strip": dict(normalizer=N.Strip(), pre_tokenizer=P.ByteLevel()),
    "left": dict(normalizer=N.Strip(left=True, right=False), pre_tokenizer=P.ByteLevel()),
    "right": dict(normalizer=N.Strip(left=False, right=True), pre_tokenizer=P.ByteLevel()),
    "replace": dict(normalizer=N.Replace(Regex(r"\s+"), " "), pre_tokenizer=P.ByteLevel()),
    "byte level normalizer": dict(normalizer=N.ByteLevel(), pre_tokenizer=P.Split(Regex("Ġ"), "merged_with_next")),
    "template": dict(pre_tokenizer=P.ByteLevel(), post_processor=processors.TemplateProcessing(
        single="<s> $A </s> <s>", special_tokens=[("<s>", 1), ("</s>", 2)])),
    "roberta": dict(pre_tokenizer=P.ByteLevel(), post_processor=processors.RobertaProcessing(("</s>", 2), ("<s>", 1))),
    "sequence": dict(pre_tokenizer=P.ByteLevel(), post_processor=processors.Sequence([
        processors.ByteLevel(), processors.BertProcessing(("</s>", 2), ("<s>", 1)),
        processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])])),
    "added": dict(normalizer=N.Lowercase(), pre_tokenizer=P.ByteLevel(add_prefix_space=False), added=[
        AddedToken("HELLO", normalized=True), AddedToken("the", normalized=False, single_word=True), AddedToken("<l>", lstrip=True, special=True),
        AddedToken("<r>", rstrip=True, special=True), AddedToken("<lr>", lstrip=True, rstrip=True, normalized=False), AddedToken("fox jumps"),
        AddedToken("fo", normalized=False), AddedToken("fox", normalized=False)]),
}
SPACED = "\u2581abcdefghijklmnopqrstuvwxyz,.'1234567890"
SENTENCEPIECE = {
    "llama": dict(normalizer=N.Sequence([N.Prepend("\u2581"), N.Replace(" ", "\u2581")]), unk_token="<unk>", fuse_unk=True),
    "no fuse": dict(normalizer=N.Replace(" ", "\u2581"), unk_token="<unk>", fuse_unk=False),
    "no unk": dict(normalizer=N.Replace(" ", "\u2581")),
    "metaspace always": dict(pre_tokenizer=P.Metaspace(prepend_scheme="always"), unk_token="<unk>"),
    "metaspace first": dict(pre_tokenizer=P.Metaspace(prepend_scheme="first", split=False), unk_token="<unk>"),
    "metaspace first split": dict(normalizer=N.Strip(right=False), pre_tokenizer=P.Metaspace(prepend_scheme="first"), unk_token="<unk>"),
    "metaspace never": dict(pre_tokenizer=P.Metaspace(prepend_scheme="never"), unk_token="<unk>"),
    "affixes": dict(pre_tokenizer=P.WhitespaceSplit(), unk_token="<unk>", continuing_subword_prefix="##", end_of_word_suffix="</w>"),
    "normalized added": dict(normalizer=N.Sequence([N.Prepend("\u2581"), N.Replace(" ", "\u2581")]), unk_token="<unk>",
                             added=[AddedToken("fox jumps"), AddedToken("<l>", lstrip=True, special=True)]),
}
PARTS = {**{f"bytes: {k}": v for k, v in BYTE_LEVEL.items()}, **{f"pieces: {k}": dict(v, alphabet=SPACED) for k, v in SENTENCEPIECE.items()}}
EXTRA = ["HELLO", "Hello", "the", "<l>", " <l> ", "  <r>  ", " <lr> ", "fox jumps", "fox", "fo", "\u00e9", "A", "aa", "\nb", "c\n", "d\n", "ef"]


@pytest.mark.parametrize("name", PARTS)
def test_parts(name, tmp_path):
    trained(**PARTS[name]).save(str(tmp_path / "tokenizer.json"))
    assert_equal(tmp_path, random_texts(1500, seed=5, extra=EXTRA), tmp_path)


def byte_fallback(tmp_path):
    """stories260K's kind of model: <0xNN> pieces for what the vocabulary lacks."""
    tokenizer = trained(normalizer=N.Sequence([N.Prepend("\u2581"), N.Replace(" ", "\u2581")]), alphabet=SPACED, unk_token="<unk>",
                        corpus=["the quick brown fox the lazy dog hello world"] * 20)
    data = json.loads(tokenizer.to_str())
    data["model"].update(byte_fallback=True, fuse_unk=True)
    for byte in range(256):
        data["model"]["vocab"][f"<0x{byte:02X}>"] = len(data["model"]["vocab"])
    return data


@pytest.mark.parametrize("holes", [(), ("<0x80>", "<0xE2>")])
def test_byte_fallback(holes, tmp_path):
    data = byte_fallback(tmp_path)
    for hole in holes:
        data["model"]["vocab"][hole + "?"] = data["model"]["vocab"].pop(hole)
    (tmp_path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    assert_equal(tmp_path, random_texts(1500), tmp_path)


def test_old_forms_of_the_file(tmp_path):
    """Merges as strings, no model type, ignore_merges, a merge given twice."""
    data = json.loads(trained(pre_tokenizer=P.ByteLevel()).to_str())
    merges = data["model"]["merges"]
    data["model"].update(merges=[" ".join(m) for m in merges] + [" ".join(merges[0])], ignore_merges=True)
    data["model"]["vocab"]["Ġextra"] = len(data["model"]["vocab"])
    (tmp_path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    assert_equal(tmp_path, random_texts(1500) + [" extra", "a extra extras"], tmp_path)


@pytest.mark.parametrize("name", ["o200k", "kimi", "deepseek", "types", "smollm", "punctuation", "whitespace", "whitespace split",
                                  "nfc", "nfd", "nfkc", "nfkd", "accents", "lower", "nmt", "strip"])
def test_every_code_point(name, tmp_path):
    trained(**BYTE_LEVEL[name]).save(str(tmp_path / "tokenizer.json"))
    parts = [f"x{chr(c)}{chr(c)} {chr(c)}1." for c in range(0x30000) if not 0xD800 <= c < 0xE000 and not 0x3500 < c < 0xA000 and not 0xAD00 < c < 0xF900 and not 0x20100 < c]
    texts = ["\n".join(parts[i:i + 32]) for i in range(0, len(parts), 32)]
    assert len(parts) > 40000
    assert_equal(tmp_path, texts, tmp_path)


def mutate(data, kind):
    model = data["model"]
    if kind == "a merge is missing":
        del model["merges"][0]
    elif kind == "two merges are swapped":
        model["merges"][0], model["merges"][40] = model["merges"][40], model["merges"][0]
    elif kind == "two ids are swapped":
        a, b = "e", "t"
        model["vocab"][a], model["vocab"][b] = model["vocab"][b], model["vocab"][a]
    elif kind == "digits in twos":
        split = data["pre_tokenizer"]["pretokenizers"][0]["pattern"]
        split["Regex"] = split["Regex"].replace("{1,3}", "{1,2}")
    elif kind == "normalized":
        data["normalizer"] = {"type": "NFC"}


@pytest.mark.parametrize("kind", ["a merge is missing", "two merges are swapped", "two ids are swapped", "digits in twos", "normalized"])
def test_mutants_are_noticed(kind, tmp_path):
    data = json.loads((BUNDLED / "tokenizer.json").read_text(encoding="utf-8"))
    mutate(data, kind)
    (tmp_path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    texts = random_texts(3000)
    assert first_difference(texts, ours(tmp_path, texts, tmp_path), theirs(BUNDLED, texts)) is not None
