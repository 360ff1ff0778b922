#!/usr/bin/env python3
"""A small tokenizer of Llama 3's kind, and what the package `tokenizers` makes of texts with it.

  tools/golden/llama_bpe.py [FOLDER]    writes tests/golden/llama_bpe/{tokenizer,cases}.json again

Needs the package `tokenizers` (0.23). The vocabulary is trained on the texts below: 256 bytes, some hundred
merges, two special tokens. As Llama 3's: its pattern, whole words before merges, a mark before a text.
"""
import json
import os
import random
import sys

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")

CORPUS = [
    "The quick brown fox doesn't jump over the lazy dog; it's resting, they've said, and we'll see.",
    "DON'T SHOUT! I'M HERE. YOU'RE THERE. HE'LL COME. SHE'D GO. WE'VE BEEN. IT'S THE END.",
    "int main(void) {\n    for (int i = 0; i < 100; ++i) {\n        printf(\"%d\\n\", i);\n    }\n    return 0;\n}\n",
    "In 1234567 steps, 3.14159 and 2,718,281; 42nd of 2024-05-17, 1e-9, 0x1f.",
    "Der Fluß fließt über die Brücke; größer, älter, schöner. Où est le café d'Été ? ¿Qué pasó, niño?",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. 敏捷的棕色狐狸跳过了懒狗。 こんにちは世界。",
]
PIECES = ["the", " the", " quick", "'s", "'S", "'ſ", "'re", "'Ve", "'lL", "'x", "'", "\"", " ", "  ", "   ", "\t", "\n", "\n\n",
          "\r\n", "\r", " \n", "\n ", "\u00a0", "\u3000", "\u2028", "\u0085", "0", "12", "123", "1234", "1234567", "٣٤٥٦", "Ⅷ", "½",
          "²", "_", "__init__", "...", "?!", "!\n", "--\r\n\r\n", "$x", "#include", "é", "e\u0301", "Ünïcödé", "Дом", "敏捷", "世界",
          "👍", "👍🏽", "🇩🇪", "\u200d", "\u200b", "\u0301", "ǅ", "ʰ", "ª", "<|begin", "<|end_of_text|>", "<|begin_of_text|>", "a", "B", "ß"]


def texts():
    rng = random.Random(3)
    yield ""
    yield from CORPUS
    for a in PIECES:
        yield a
    for a in ("'", " ", "\n", "x", "1", "!"):
        for b in PIECES:
            yield a + b
            yield b + a
    for _ in range(400):
        yield "".join(rng.choice(PIECES) for _ in range(rng.randrange(2, 12)))


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "golden", "llama_bpe")
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=520, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                  special_tokens=["<|begin_of_text|>", "<|end_of_text|>"])
    tokenizer.train_from_iterator(CORPUS, trainer)
    begin = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B:1",
                                      special_tokens=[("<|begin_of_text|>", begin)])])
    # A word that no merge makes: whole words come first.
    file = json.loads(tokenizer.to_str())
    vocab = file["model"]["vocab"]
    vocab["xyzzy"] = len(vocab)
    tokenizer = Tokenizer.from_str(json.dumps(file))
    cases = [[text, tokenizer.encode(text).ids] for text in dict.fromkeys(list(texts()) + ["xyzzy", " xyzzy", "xyzzyx"])]
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as out:
        json.dump(json.loads(tokenizer.to_str()), out, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        out.write("\n")
    with open(os.path.join(folder, "cases.json"), "w", encoding="utf-8") as out:
        out.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=True, separators=(",", ":")) for case in cases) + "\n]\n")
    print(len(cases), "texts,", len(vocab), "tokens")


if __name__ == "__main__":
    main()
