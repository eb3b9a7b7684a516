#!/usr/bin/env python3
"""Prints documents as JSON lines {"text": ...}, for `mpiquant`, which starts it for sources that need Python.

usage: hf_text.py --dataset hf:NAME[:CONFIG][:SPLIT][:FIELD] [--field FIELD]   a data set of the local cache (split: train)
       hf_text.py --messages FILE --model DIR                                  chats of a .json or .jsonl through the chat template

Never reaches for the network. On failure the last line is {"error": ...}; exit code 3: the input is wrong, 6: a package is missing.
"""
import argparse
import json
import os
import sys

INPUT, ENVIRONMENT = 3, 6


def fail(code, message):
    print(json.dumps({"error": message}))
    sys.exit(code)


def package(name, purpose):
    try:
        return __import__(name)
    except ImportError as error:
        fail(ENVIRONMENT, f"the Python package {name} is needed {purpose} ({error}) install it with: {sys.executable} -m pip install {name}")


def chat_renderer(model):
    """A function from a list of messages to the text that the model's chat template makes of it."""
    transformers = package("transformers", "to apply a chat template")
    if not model:
        fail(INPUT, "chats need a model with a chat template (no model directory was given)")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, local_files_only=True)
    except Exception as error:  # whatever a tokenizer of unknown origin raises is the user's to read
        fail(INPUT, f"the tokenizer of {model} cannot be loaded: {error}")
    if not tokenizer.chat_template:
        fail(INPUT, f"{model} has no chat template (\"messages\" cannot be turned into text) give plain text instead")

    def render(messages, where):
        try:
            return tokenizer.apply_chat_template(messages, tokenize=False)
        except Exception as error:  # templates raise errors of their own
            fail(INPUT, f"the chat template of {model} refuses {where}: {error}")

    return render


def records(path):
    """The entries of a .jsonl or .json file with their place."""
    try:
        with open(path, encoding="utf-8") as file:
            if path.endswith(".jsonl"):
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield f"{path}, line {number}", json.loads(line)
            else:
                for number, entry in enumerate(json.load(file), 1):
                    yield f"{path}, entry {number}", entry
    except (OSError, ValueError) as error:
        fail(INPUT, f"{path} cannot be read: {error}")


def chats(path, model):
    render = chat_renderer(model)
    for where, record in records(path):
        messages = record.get("messages") if isinstance(record, dict) else None
        if not isinstance(messages, list):
            fail(INPUT, f"{where} has no list \"messages\"")
        yield render(messages, where)


def data_set(source, field, model):
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    datasets = package("datasets", "for hf: sources")
    parts = (source.removeprefix("hf:").split(":") + ["", "", "", ""])[:4]
    name, config, split, field = parts[0], parts[1] or None, parts[2] or "train", parts[3] or field
    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # many kinds, for one reason: it is not in the cache
        fail(INPUT, f"the data set {source} cannot be loaded from the local cache: {error} (nothing is downloaded) "
             f"load it once with datasets.load_dataset({name!r}, {config!r}, split={split!r}) where there is a network")
    if field not in rows.column_names:
        fail(INPUT, f"the data set {source} has no field \"{field}\" (it has: {', '.join(rows.column_names)})")
    render = None
    for number, value in enumerate(rows[field], 1):
        if isinstance(value, list):
            render = render or chat_renderer(model)
            value = render(value, f"row {number} of {source}")
        if not isinstance(value, str):
            fail(INPUT, f"row {number} of {source} has no text in the field \"{field}\"")
        yield value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--dataset")
    which.add_argument("--messages")
    parser.add_argument("--field", default="text")
    parser.add_argument("--model", default="")
    arguments = parser.parse_args()
    source = data_set(arguments.dataset, arguments.field, arguments.model) if arguments.dataset else chats(arguments.messages, arguments.model)
    for text in source:
        print(json.dumps({"text": text}))


if __name__ == "__main__":
    main()
