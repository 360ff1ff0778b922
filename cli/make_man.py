#!/usr/bin/env python3
"""Makes docs/man/seqmix.1 from the program's own help, so that the two cannot differ.

    make_man.py PROGRAM [OUTPUT]           write the page (stdout without OUTPUT)
    make_man.py PROGRAM OUTPUT --check     exit 1 when OUTPUT is not what would be written

What it reads: a description up to "Usage:", sections "Title:" with two-space items ("NAME  text",
text continued at the same column), and a footer of paragraphs, "Exit codes:" and "Examples:".
"""

import os
import re
import subprocess
import sys

SECTION = re.compile(r"^[A-Z][A-Za-z, ]*:$")
VERBATIM = {"Examples"}


def help_of(program, command):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SEQMIX_")}
    done = subprocess.run([program, *command, "--help"], capture_output=True, text=True,
                          env=environment, check=True)
    return done.stdout


def parse(text):
    """-> description, usage, [(title, items or lines)], [paragraphs]; items are (name, text)."""
    description, usage, sections, paragraphs = [], "", [], []
    title = None
    for line in text.splitlines():
        if line.startswith("Usage:"):
            usage = line[len("Usage:"):].strip()
        elif SECTION.match(line):
            title = line[:-1]
            sections.append((title, []))
        elif title and line.startswith("  "):
            lines = sections[-1][1]
            if title in VERBATIM:
                lines.append(line[2:])
            elif line.startswith(" " * 20):
                name, so_far = lines[-1]
                lines[-1] = (name, (so_far + " " + line.strip()).strip())
            else:
                name, _, rest = line.strip().partition("  ")
                lines.append((name, rest.strip()))
        elif not line.strip():
            title = None
            if usage and paragraphs and paragraphs[-1]:
                paragraphs.append([])
        elif not usage:
            description.append(line)
        else:
            if not paragraphs:
                paragraphs.append([])
            paragraphs[-1].append(line)
    return " ".join(description), usage, sections, [" ".join(p) for p in paragraphs if p]


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def bold(name):
    """-n,--max-tokens N -> the option bold, what it takes in italics."""
    flags, _, takes = name.partition(" ")
    flags = escape(flags.replace(",-", ", -"))
    return f"\\fB{flags}\\fR" + (f" \\fI{escape(takes)}\\fR" if takes else "")


def body(sections, paragraphs, out):
    late = []
    for title, lines in sections:
        if title in VERBATIM:
            late.append((title, lines))
        elif title != "Subcommands":
            if title not in ("Options", "Arguments"):
                out += [".PP", escape(title) + ":"]
            for name, text in lines:
                out += [".TP", bold(name), escape(text)]
    for paragraph in paragraphs:
        out += [".PP", escape(paragraph)]
    for title, lines in late:
        out += [".PP", escape(title) + ":", ".PP", ".RS 4", ".nf"]
        out += [escape(line) for line in lines]
        out += [".fi", ".RE"]


def page(program):
    version = subprocess.run([program, "--version"], capture_output=True, text=True,
                             check=True).stdout.strip()
    description, usage, sections, paragraphs = parse(help_of(program, []))
    out = ['.\\" Made by cli/make_man.py from the program\'s help; do not edit.',
           f'.TH SEQMIX 1 "" "{escape(version)}" "User Commands"',
           ".SH NAME", "seqmix \\- run sequence models on the CPU",
           ".SH SYNOPSIS", f"\\fB{escape(usage)}\\fR", ".SH DESCRIPTION", escape(description)]
    named = dict(sections)
    out += [".SH OPTIONS"]
    for name, text in named["Options"]:
        out += [".TP", bold(name), escape(text)]
    out += [".SH COMMANDS"]
    commands = []
    for name, _ in named["Subcommands"]:
        inner = dict(parse(help_of(program, [name]))[2]).get("Subcommands")
        commands += [[name, i] for i, _ in inner] if inner else [[name]]
    variables = {}
    for command in commands:
        about, usage, own, footer = parse(help_of(program, command))
        own = [(t, [i for i in lines if not isinstance(i, tuple) or i[0] != "-h,--help"])
               for t, lines in own]
        for name, text in (item for t, lines in own if t not in VERBATIM for item in lines):
            for variable in re.findall(r"\(environment: (\w+)\)", text):
                variables[variable] = name.partition(" ")[0]
        out += [f".SS seqmix {escape(' '.join(command))}", escape(about) + ".",
                ".PP", f"\\fB{escape(usage)}\\fR"]
        body(own, footer, out)
    out += [".SH EXIT STATUS"]
    for code, text in named["Exit codes"]:
        out += [".TP", f"\\fB{code}\\fR", escape(text)]
    out += [".SH ENVIRONMENT"]
    for name, option in sorted(variables.items()):
        out += [".TP", f"\\fB{name}\\fR", escape(f"Stands for {option} where that is not given.")]
    out += [".SH EXAMPLES", ".nf"] + [escape(line) for line in named["Examples"]] + [".fi"]
    return "\n".join(out) + "\n"


def main(arguments):
    check = "--check" in arguments
    paths = [a for a in arguments if a != "--check"]
    if not 1 <= len(paths) <= 2 or (check and len(paths) != 2):
        print(__doc__, file=sys.stderr)
        return 2
    text = page(paths[0])
    if len(paths) == 1:
        sys.stdout.write(text)
    elif check:
        with open(paths[1], encoding="utf-8") as file:
            if file.read() != text:
                print(f"make_man.py: {paths[1]} is not current: run make_man.py PROGRAM {paths[1]}",
                      file=sys.stderr)
                return 1
    else:
        with open(paths[1], "w", encoding="utf-8") as file:
            file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
