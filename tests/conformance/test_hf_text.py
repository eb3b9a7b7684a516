"""The helper for data sets and chats: what it prints, and how it refuses."""
import json
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"


def helper(*arguments):
    done = subprocess.run([sys.executable, ROOT / "scripts" / "hf_text.py", *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def model(tmp_path):
    for name in ("tokenizer.json", "config.json"):
        shutil.copy(ROOT / "tests" / "models" / "tiny-llama" / name, tmp_path / name)
    config = json.loads((ROOT / "tests" / "models" / "tiny-llama" / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(dict(config, chat_template=TEMPLATE)))
    return tmp_path


CHAT = [{"role": "user", "content": "Hi \u00e9"}, {"role": "assistant", "content": "Hello"}]
RENDERED = "<|user|>Hi \u00e9<|end|><|assistant|>Hello<|end|>"


@pytest.mark.parametrize("name, content", [("chats.jsonl", json.dumps({"messages": CHAT}) + "\n\n" + json.dumps({"messages": CHAT[:1]})),
                                           ("chats.json", json.dumps([{"messages": CHAT}, {"messages": CHAT[:1]}]))])
def test_chats(name, content, model):
    (model / name).write_text(content)
    code, lines = helper("--messages", model / name, "--model", model)
    assert (code, lines) == (0, [{"text": RENDERED}, {"text": RENDERED.split("<|assistant|>")[0]}])


def test_chats_without_a_template(model):
    shutil.copy(ROOT / "tests" / "models" / "tiny-llama" / "tokenizer_config.json", model / "tokenizer_config.json")
    (model / "chats.jsonl").write_text(json.dumps({"messages": CHAT}))
    code, lines = helper("--messages", model / "chats.jsonl", "--model", model)
    assert code == 3 and "has no chat template" in lines[-1]["error"]


def test_records_without_messages(model):
    (model / "chats.jsonl").write_text(json.dumps({"messages": CHAT}) + "\n" + json.dumps({"text": "x"}))
    code, lines = helper("--messages", model / "chats.jsonl", "--model", model)
    assert code == 3 and "line 2" in lines[-1]["error"]


@pytest.fixture
def data_set(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps({"body": f"row {i}", "number": i}) + "\n" for i in range(3)))
    return folder


def test_data_set(data_set):
    assert helper("--dataset", f"hf:{data_set}:::body") == (0, [{"text": f"row {i}"} for i in range(3)])
    assert helper("--dataset", f"hf:{data_set}::train[1:2]", "--field", "body")[0] == 3  # a slice's colon is no separator
    assert helper("--dataset", f"hf:{data_set}::train", "--field", "body") == (0, [{"text": f"row {i}"} for i in range(3)])


@pytest.mark.parametrize("source, said", [("hf:{}", "no field \"text\" (it has: body, number)"), ("hf:{}:::number", "row 1"),
                                          ("hf:{}::test", "cannot be loaded"), ("hf:no/such-set-anywhere", "nothing is downloaded")])
def test_data_set_errors(source, said, data_set):
    code, lines = helper("--dataset", source.format(data_set))
    assert code == 3 and said in lines[-1]["error"], lines
