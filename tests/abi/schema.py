"""schema.py PROGRAM [--write]: the schemas that PROGRAM (schema.c) prints, one a line, satisfy
include/seqmix/seqmix-schema.json and equal the snapshots in the tree.

A folder's schema.json holds the schema of its type, or a list where it has several (src/models). Before
1.0 a difference is for a reviewer to see, not forbidden: --write writes the snapshots.
"""
import copy
import difflib
import json
import os
import re
import subprocess
import sys

from abi_tools import ROOT, report

try:
    import jsonschema
except ImportError:
    jsonschema = None

SCHEMA = os.path.join(ROOT, "include", "seqmix", "seqmix-schema.json")

# ---------------------------------------------------------------- the part of JSON Schema in use

TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "integer": lambda v: not isinstance(v, bool) and (
        isinstance(v, int) or isinstance(v, float) and v == int(v)),
}


def same(a, b):
    """JSON's equality: true is not 1."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def check(value, schema, root, where="$"):
    """Yields what is wrong. Every keyword is either known here or an error."""
    if isinstance(schema, bool):
        if not schema:
            yield where + " may not be there"
        return
    for keyword, rule in schema.items():
        if keyword in ("$schema", "$defs", "title", "description"):
            continue
        if keyword == "$ref":
            yield from check(value, root["$defs"][rule[len("#/$defs/"):]], root, where)
        elif keyword == "type":
            if not TYPES[rule](value):
                yield "%s is no %s: %s" % (where, rule, json.dumps(value))
        elif keyword == "const":
            if not same(value, rule):
                yield "%s is %s, not %s" % (where, json.dumps(value), json.dumps(rule))
        elif keyword == "enum":
            if not any(same(value, item) for item in rule):
                yield "%s is %s, not one of %s" % (where, json.dumps(value), json.dumps(rule))
        elif keyword == "pattern":
            if isinstance(value, str) and not re.search(rule, value):
                yield "%s is %s, not like %s" % (where, json.dumps(value), rule)
        elif keyword in ("minimum", "maximum"):
            low = keyword == "minimum"
            if TYPES["number"](value) and (value < rule if low else value > rule):
                yield "%s is %s, the %s is %s" % (where, value, keyword, rule)
        elif keyword == "minItems":
            if isinstance(value, list) and len(value) < rule:
                yield "%s has %d items" % (where, len(value))
        elif keyword == "uniqueItems":
            if isinstance(value, list) and any(
                    same(a, b) for i, a in enumerate(value) for b in value[:i]):
                yield where + " has an item twice"
        elif keyword == "items":
            for i, item in enumerate(value if isinstance(value, list) else []):
                yield from check(item, rule, root, "%s[%d]" % (where, i))
        elif keyword == "required":
            for name in rule if isinstance(value, dict) else []:
                if name not in value:
                    yield "%s has no %s" % (where, name)
        elif keyword == "dependentRequired":
            for name, others in rule.items():
                for other in others:
                    if isinstance(value, dict) and name in value and other not in value:
                        yield "%s has %s and no %s" % (where, name, other)
        elif keyword == "properties":
            for name, inner in rule.items():
                if isinstance(value, dict) and name in value:
                    yield from check(value[name], inner, root, where + "." + name)
        elif keyword == "additionalProperties":
            assert rule is False
            for name in value if isinstance(value, dict) else []:
                if name not in schema["properties"]:
                    yield "%s has %s, which nothing describes" % (where, name)
        elif keyword == "allOf":
            for inner in rule:
                yield from check(value, inner, root, where)
        elif keyword == "oneOf":
            fitting = sum(not any(True for _ in check(value, inner, root, where))
                          for inner in rule)
            if fitting != 1:
                yield "%s fits %d of %d alternatives" % (where, fitting, len(rule))
        else:
            raise ValueError("the keyword %s is not known to this test" % keyword)


def violations(document, schema):
    """What is wrong, from this file's validator; the verdicts of jsonschema must be the same."""
    found = list(check(document, schema, schema))
    if jsonschema is not None:
        theirs = list(jsonschema.Draft202012Validator(schema).iter_errors(document))
        if bool(theirs) != bool(found):
            raise AssertionError("jsonschema finds %r, this test %r" % (theirs, found))
    return found


# ---------------------------------------------------------------- violations that must be found

def breakages(good):
    """(what, a document that is wrong in one way), made from the schema of mamba."""
    def broken(what, change):
        document = copy.deepcopy(good)
        change(document)
        return what, document

    def attribute(document, name):
        return next(a for a in document["attributes"] if a["name"] == name)

    for member in good:
        yield broken("no " + member, lambda d, m=member: d.pop(m))
    for member in good["attributes"][0]:
        if member not in ("min", "max"):
            yield broken("an attribute without " + member,
                         lambda d, m=member: d["attributes"][0].pop(m))
    for kind in ("tensors", "state"):
        for member in good[kind][0]:
            yield broken("%s without %s" % (kind, member), lambda d, k=kind, m=member: d[k][0].pop(m))
    yield broken("another member", lambda d: d.update(colour="red"))
    yield broken("no tensors", lambda d: d["tensors"].clear())
    yield broken("a name with a space", lambda d: d.update(type="ma mba"))
    yield broken("a type that is none", lambda d: attribute(d, "d_model").update(type="u64"))
    yield broken("both required and default", lambda d: attribute(d, "d_model").update(default=8))
    yield broken("neither required nor default", lambda d: attribute(d, "d_state").pop("default"))
    yield broken("a default of another type", lambda d: attribute(d, "d_state").update(default="16"))
    yield broken("a switch by number", lambda d: attribute(d, "reverse").update(default=0))
    yield broken("a real limit", lambda d: attribute(d, "d_state").update(min=0.5))
    yield broken("min without max", lambda d: attribute(d, "d_state").pop("max"))
    yield broken("choices of a number", lambda d: attribute(d, "d_state").update(choices=["a"]))
    yield broken("the same choice twice",
                 lambda d: attribute(d, "inner_norm").update(choices=["none", "none"]))
    yield broken("a role that is none", lambda d: d["tensors"][0].update(role="state"))
    yield broken("a state that is a weight", lambda d: d["state"][0].update(role="weight"))
    yield broken("a slot of the controls", lambda d: d["tensors"][0].update(slot=1000))
    yield broken("a slot below 0", lambda d: d["tensors"][0].update(slot=-1))
    yield broken("a dtype that is none", lambda d: d["tensors"][0].update(dtypes=["f8"]))
    yield broken("no dtypes", lambda d: d["tensors"][0].update(dtypes=[]))
    yield broken("a shape without parentheses", lambda d: d["tensors"][0].update(shape="B,T"))
    yield broken("two lines of doc", lambda d: d.update(doc="a\nb"))
    yield broken("a switch that is a text", lambda d: d["capabilities"].update(causal="yes"))
    yield broken("a chunk of nothing", lambda d: d.update(chunk=0))
    yield broken("a chunk that is a text", lambda d: d.update(chunk="half"))
    yield broken("positions that are not taken", lambda d: d.update(positions=False))
    yield broken("kinds beside none", lambda d: d.update(kinds=["mixing"]))


# ---------------------------------------------------------------- snapshots

def snapshots(schemas):
    """{path from the root: text}, by the lines SEQMIX_MIXER(type, folder)."""
    folders = {}
    for registry, parent in (("src/mixers/mixers.inc", "src/mixers/"),
                             ("src/models/models.inc", "src/")):
        with open(os.path.join(ROOT, registry)) as lines:
            for kind, folder in re.findall(r"^SEQMIX_MIXER\((\w+), *(\w+)\)", lines.read(), re.M):
                folders.setdefault(parent + folder, []).append(schemas.pop(kind))
    assert not schemas, "types in no registry: " + ", ".join(schemas)
    return {folder + "/schema.json":
            json.dumps(found[0] if len(found) == 1 else found, indent=1) + "\n"
            for folder, found in folders.items()}


def compare(path, text, command):
    full = os.path.join(ROOT, path)
    stored = ""
    if os.path.exists(full):
        with open(full) as file:
            stored = file.read()
    if stored == text:
        return []
    diff = difflib.unified_diff(stored.splitlines(), text.splitlines(), "a/" + path, "b/" + path,
                                lineterm="")
    return ["\n".join(diff), "%s is not what the library says. If it is meant to change:\n    %s" %
            (path, command)]


program, write = sys.argv[1], sys.argv[2:] == ["--write"]
printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
schemas = {schema["type"]: schema for schema in map(json.loads, printed.splitlines())}
with open(SCHEMA) as file:
    published = json.load(file)
problems = []
if jsonschema is not None:
    jsonschema.Draft202012Validator.check_schema(published)
for kind, schema in schemas.items():
    problems += ["%s: %s" % (kind, problem) for problem in violations(schema, published)]
missed = [what for what, document in breakages(schemas["mamba"])
          if not violations(document, published)]
problems += ["the published schema accepts " + what for what in missed]
count = len(schemas)
for path, text in snapshots(schemas).items():
    if write:
        with open(os.path.join(ROOT, path), "w") as file:
            file.write(text)
    else:
        problems += compare(path, text, "python3 tests/abi/schema.py %s --write" %
                            os.path.relpath(program, ROOT))
print("%d types, %s" % (count, "jsonschema agrees" if jsonschema else "jsonschema not installed"))
report(problems)
