#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 the inkling authors
"""Records what the reference of a model's kind makes of some 300 strings, with the tokens, merges
and scores of the file itself: Hugging Face's `tokenizers` for byte-level BPE
(tests/data/smollm2-tokenizer-golden.json), `sentencepiece` for the kind "llama"
(tests/data/gemma3-tokenizer-golden.json). Needs `gguf`, `tokenizers` and `sentencepiece`.

    python3 tests/data/make-tokenizer-golden.py MODEL.gguf
    python3 tests/data/make-tokenizer-golden.py MODEL.gguf --compare 100000 INKLING_EVAL

With --compare it records nothing, but runs that many more random strings through
`INKLING_EVAL tokenize` and counts what differs (joined by a control token, 500 at a time).
"""
import json
import os
import random
import re
import struct
import subprocess
import sys

from gguf import GGUFReader

HERE = os.path.dirname(os.path.abspath(__file__))
SEED = 20260101

PHRASES = [
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", " \n", "\n ", "\t", "\t\n", "a", " a", "a ", "a  ",
    "a  b", "a   b", "Hello world", " Hello world", "Hello  world  ", "Hello,\n\nworld!\n",
    "I've 'told he's there, 'RE you sure? 'M not sure I'll make it, 'D you like? We'Ve a'lL",
    "don't can't won't it's we're they'll I'm you'd", "'s 't 're", "''s", "x's's",
    "3", "33", "333", "3333", "3.14", "3..3", "1,234,567.89", "0x1F", "2024-01-31", " 42 ", "a1b2c3",
    "\u0664\u0665", "\uff14\uff15", "\u0967\u0968", "\u00bd \u00b2 \u2167 \u3007", "\u00e9 e\u0301",
    "\u00a0", "a\u00a0b", "\u2028", "\u2029x", "\u3000\u4e2d\u6587\u3000", "\u200b\u200d\ufeff",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f999.cpp",
    "\u043d\u0435\u0449\u043e \u043d\u0430 \u0411\u044a\u043b\u0433\u0430\u0440\u0441\u043a\u0438",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u3053\u3093\u306b\u3061\u306f", "\uc548\ub155",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u05e9\u05dc\u05d5\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947", "\u1781\u17d2\u1789\u17bb\u17c6", "C\u1eeda Vi\u1ec7t",
    "int main(void)\n{\n    return 0;\n}\n", "def f(x):\n\treturn x**2\n", "<html>&amp;</html>",
    "https://example.org/a?b=c&d=%20#e", "user@example.org", "/usr/bin/env", "C:\\Windows\\",
    "<|im_start|>user\nHi<|im_end|>\n", "<|endoftext|>", "<|im_end", "<repo_name>", "------=======",
    "!!!!!!", "``` '''' \"\"\"\"", "\u2026\u201cquoted\u201d \u2014 dash", "$100 \u20ac50 \u00a35",
    "a\x00b", "\x01\x7f\x1b", "\x85", "\u0378\U000e0041", "\U00016d79\U00013460", "\uffff\ue000",
]

WORDS = ["the", " of", "Hello", "world", "I've", "'ll", "'S", "don't", " ", "  ", "\n", "\r\n", "\t",
         "\u00a0", "\u2028", "\u3000", "\u200d", "\u00e9", "e\u0301", "\u4e2d", "\u0631", "12", "3",
         "\uff14", "\u00bd", "...", "?!", "'", "\"", "_", "->", "<|im_end|>", "\x00", "\U0001f999"]


# For kinds with runs of blanks and user-defined tokens.
SPM_PHRASES = [
    " " * 31, " " * 32, " " * 70, "a" + " " * 33 + "b", "\n" * 31, "\n" * 40, "\t" * 5 + "x", "\t" * 40,
    " \n \n", "\n  \n", "\t \t", "<b>bold</b>", "<table>\n  <tr><td>1</td></tr>\n</table>", "<b",
    "< b >", "<h1>a</h1 ><h7>", "</ h1>", "\u2581", "a\u2581b", "<0x41>", "<0x0A>\n", "<bos>x<eos>", "<start_of_turn>user\nHi<end_of_turn>\n",
    "<unused7>", "[multimodal]", "> </", ">  </div>", "x> </b>", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]

SPM_WORDS = ["<b>", "</b>", "<table>", "\n\n", "\n\n\n", "   ", "    ", " " * 17, "\t\t", "\u2581",
             "<start_of_image>", ">", "</", "<", "<0x41>", " ing", "ation", " un"]


def byte_level(fields):
    from tokenizers import Tokenizer, models, pre_tokenizers
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    built = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    built.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return lambda texts: [e.ids for e in built.encode_batch(texts, add_special_tokens=False)]


def varint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def message(field, raw):
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def scores(fields):
    """The file's pieces as a model of the sentencepiece library (its protocol buffer by hand).
    GGUF writes user-defined pieces with spaces, and the unknown token is a control token there."""
    from sentencepiece import SentencePieceProcessor
    value = lambda key, fallback: fields[key].contents() if key in fields else fallback
    unknown = value("tokenizer.ggml.unknown_token_id", 0)
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    model = b""
    for i, score in enumerate(fields["tokenizer.ggml.scores"].contents()):
        kind = 2 if i == unknown else types[i]
        text = tokens[i].replace(" ", "\u2581") if kind == 4 else tokens[i]
        model += message(1, message(1, text.encode()) + b"\x15" + struct.pack("<f", score) + b"\x18"
                         + varint(kind))
    model += message(2, b"\x18\x02" + varint(35 << 3) + b"\x01" + varint(40 << 3) + varint(unknown))
    prefix = value("tokenizer.ggml.add_space_prefix", True)
    extra = value("tokenizer.ggml.remove_extra_whitespaces", False)
    model += message(3, bytes([0x18, prefix, 0x20, extra, 0x28, 1]))
    built = SentencePieceProcessor(model_proto=model)
    return lambda texts: built.encode(texts)


def character(rng):
    ranges = [(0x20, 0x7F), (0x20, 0x7F), (0x20, 0x7F), (0x80, 0x250), (0x250, 0x3100),
              (0x3000, 0xD800), (0xE000, 0x10000), (0x10000, 0x1FB00), (0xE0000, 0xE0200),
              (0xF0000, 0x110000)]
    return chr(rng.randrange(*rng.choice(ranges)))


def random_text(rng, words):
    """Without a U+2581 beside a space: the library counts both to one run, llama.cpp and we do not."""
    text = "".join(rng.choice(words) if rng.random() < 0.5 else character(rng)
                   for _ in range(rng.randrange(1, 24)))
    return re.sub("[ \u2581]*\u2581[ \u2581]+|[ \u2581]+\u2581", " ", text)


def compare(encode, fields, words, n, tool, model):
    """Strings are joined by a control token, which their text then lacks."""
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    mark = fields["tokenizer.ggml.eos_token_id"].contents()
    control = [t for t, kind in zip(tokens, types) if kind == 3]
    rng, bad, n_ids = random.Random(SEED + 1), 0, 0
    for start in range(0, n, 500):
        texts = []
        while len(texts) < min(500, n - start):
            text = random_text(rng, words) + "."
            if not any(t in text for t in control):
                texts.append(text)
        done = subprocess.run([tool, "tokenize", "--special", model],
                              input=tokens[mark].join(texts).encode(), capture_output=True, check=True)
        got, part = [], []
        for token in json.loads(done.stdout)["ids"] + [mark]:
            if token == mark:
                got.append(part)
                part = []
            else:
                part.append(token)
        wanted = encode(texts)
        for text, ours, theirs in zip(texts, got, wanted):
            n_ids += len(theirs)
            if ours != theirs:
                bad += 1
                print("differs:", ascii(text), ours, theirs)
        bad += abs(len(got) - len(wanted))
    print("%d strings, %d tokens, %d differ" % (n, n_ids, bad))
    return 1 if bad else 0


def main():
    model = sys.argv[1]
    fields = GGUFReader(model).fields
    is_spm = fields["tokenizer.ggml.model"].contents() == "llama"
    encode = scores(fields) if is_spm else byte_level(fields)
    words = WORDS + SPM_WORDS * 2 if is_spm else WORDS
    if len(sys.argv) == 5 and sys.argv[2] == "--compare":
        return compare(encode, fields, words, int(sys.argv[3]), sys.argv[4], model)
    rng = random.Random(SEED)
    phrases = PHRASES + SPM_PHRASES if is_spm else PHRASES
    texts = phrases + [random_text(rng, words) for _ in range(300 - len(phrases))]
    out = os.path.join(HERE, "%s-tokenizer-golden.json" % ("gemma3" if is_spm else "smollm2"))
    with open(out, "w") as file:
        file.write("[\n" + ",\n".join(
            json.dumps({"text": text, "ids": ids}, separators=(",", ":"))
            for text, ids in zip(texts, encode(texts))) + "\n]\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
