"""same_text.py MODEL PROGRAM[,ARGUMENT...]...: every example prints the same text for the same prompt,
and where expected.safetensors lies beside the model, the text of the reference implementation."""
import json
import os
import struct
import subprocess
import sys

from abi_tools import report


def reference(folder):
    """The prompt and the prompt with its greedy continuation, or None."""
    path = os.path.join(folder, "expected.safetensors")
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()

    def ids(name):
        first, last = header[name]["data_offsets"]
        return bytes(struct.unpack("<%dq" % ((last - first) // 8), data[first:last]))

    return ids("prompt_ids"), ids("greedy_ids")


model, programs = sys.argv[1], sys.argv[2:]
found = reference(model)
prompt = found[0] if found else b"ROMEO:\nWhat light"
length = len(found[1]) - len(prompt) if found else 200
texts, problems = {}, []
for program in programs:
    command = program.split(",") + [model, prompt.decode(), str(length)]
    result = subprocess.run(command, capture_output=True)
    name = os.path.basename(command[2] if command[1] == "-B" else command[0])
    if result.returncode != 0:
        problems.append("%s failed: %s" % (name, result.stderr.decode(errors="replace")))
    texts[name] = result.stdout
first = next(iter(texts.values()))
for name, text in texts.items():
    if text != first:
        problems.append("%s prints another text:\n%r\n%r" % (name, text, first))
if found and first != found[1] + b"\n":
    problems.append("not the reference's text:\n%r\n%r" % (first, found[1]))
if len(first) < length:
    problems.append("only %d bytes of text" % len(first))
print("%d programs, %d bytes each, %s" % (len(texts), len(first),
                                          "as the reference" if found else "no reference here"))
report(problems)
