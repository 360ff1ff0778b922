#!/usr/bin/env python3
"""Text from a model through ctypes: no NumPy, no compiler, nothing but the shared library.

    python3 shakespeare.py [--library libseqmix.so.0] [MODEL [PROMPT [COUNT]]]

Streams text; drives the model layer by layer and compares the logits bit for bit; saves a state, loads
it and goes on; and shows what an error looks like. The library is found by --library, else by the
environment variable SEQMIX_LIBRARY, else by the system. The text goes to standard output, everything
else to standard error. Exit status 1: something failed.
"""
import ctypes
import os
import sys
from ctypes import (POINTER, Structure, byref, c_char_p, c_float, c_int32, c_int64, c_size_t,
                    c_uint8, c_uint16, c_uint32, c_uint64, c_void_p)

# ---- the structures of seqmix.h (their layout is also in seqmix.api.json)


class Tensor(Structure):
    """A view of memory that Python owns: DLPack's DLTensor."""
    _fields_ = [("data", c_void_p), ("device_type", c_int32), ("device_id", c_int32),
                ("ndim", c_int32), ("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16),
                ("shape", POINTER(c_int64)), ("strides", POINTER(c_int64)),
                ("byte_offset", c_uint64)]


class Arg(Structure):
    _fields_ = [("slot", c_int32), ("index", c_int32), ("flags", c_uint32), ("reserved", c_uint32),
                ("tensor", POINTER(Tensor))]


class SlotInfo(Structure):
    _fields_ = [("struct_size", c_uint32), ("slot", c_int32), ("role", c_uint32),
                ("flags", c_uint32), ("dtypes", c_uint32), ("ndim", c_int32),
                ("shape", c_int64 * 8), ("name", c_char_p), ("shape_text", c_char_p),
                ("doc", c_char_p)]


DL_INT, DL_FLOAT, DL_CPU = 0, 2, 1
BUFFER_TOO_SMALL = -16


class Error(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


# ---- the functions; handles are void pointers


def load(path):
    """The library with the types of the functions declared. restype None: returns nothing;
    a status is turned into an exception when it is not 0."""
    lib = ctypes.CDLL(path)

    def check(status, function, arguments):
        if status != 0:
            raise Error(status, lib.seqmix_last_error().decode())
        return status

    status, handle = "status", POINTER(c_void_p)
    signatures = {
        "version_string": (c_char_p, []),
        "last_error": (c_char_p, []),
        "type_slot": (status, [c_char_p, c_char_p, POINTER(c_int32)]),
        "context_create": (status, [c_void_p, handle]),
        "context_release": (None, [c_void_p]),
        "layer_open": (status, [c_void_p, c_char_p, c_void_p, handle]),
        "layer_release": (None, [c_void_p]),
        "layer_type": (c_char_p, [c_void_p]),
        "layer_slot_count": (c_size_t, [c_void_p]),
        "layer_slot_info": (status, [c_void_p, c_size_t, POINTER(SlotInfo)]),
        "layer_child_count": (c_size_t, [c_void_p]),
        "layer_child": (status, [c_void_p, c_size_t, handle]),
        "layer_forward": (status, [c_void_p, c_void_p, POINTER(Arg), c_size_t, c_void_p]),
        "state_create": (status, [c_void_p, c_void_p, handle]),
        "state_destroy": (None, [c_void_p]),
        "state_child": (status, [c_void_p, c_size_t, handle]),
        "state_load": (status, [c_void_p, c_char_p, c_size_t, c_void_p, handle]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, "seqmix_" + name)
        function.argtypes = arguments
        function.restype = c_int32 if result == status else result
        if result == status:
            function.errcheck = check
    # Two-call form: "too small" is an answer here, so it stays a plain status.
    lib.seqmix_state_save.argtypes = [c_void_p, c_void_p, c_size_t, POINTER(c_size_t)]
    lib.seqmix_state_save.restype = c_int32
    return lib


class Handle:
    """Owns a handle; what it was made from is kept alive by the library itself."""

    def __init__(self, free, make, *arguments):
        self._free = free
        self.pointer = c_void_p()
        make(*arguments, byref(self.pointer))

    def __del__(self):
        if self.pointer:
            self._free(self.pointer)


class Array:
    """Elements in C order with a shape, and the view of them that the library takes."""

    def __init__(self, ctype, shape, values=()):
        count = 1
        for size in shape:
            count *= size
        self.values = (ctype * count)(*values)
        self.shape = (c_int64 * len(shape))(*shape)
        self.view = Tensor(ctypes.cast(self.values, c_void_p), DL_CPU, 0, len(shape),
                           DL_FLOAT if ctype is c_float else DL_INT, 8 * ctypes.sizeof(ctype), 1,
                           self.shape, None, 0)


class Seqmix:
    def __init__(self, path):
        self.lib = load(path)

    def context(self):
        return Handle(self.lib.seqmix_context_release, self.lib.seqmix_context_create, None)

    def open(self, context, path):
        return Handle(self.lib.seqmix_layer_release, self.lib.seqmix_layer_open, context.pointer,
                      os.fsencode(path), None)

    def child(self, layer, i):
        return Handle(self.lib.seqmix_layer_release, self.lib.seqmix_layer_child, layer.pointer, i)

    def state(self, layer):
        return Handle(self.lib.seqmix_state_destroy, self.lib.seqmix_state_create, layer.pointer,
                      None)

    def state_child(self, state, i):
        return Handle(self.lib.seqmix_state_destroy, self.lib.seqmix_state_child, state.pointer, i)

    def save(self, state):
        needed = c_size_t()
        status = self.lib.seqmix_state_save(state.pointer, None, 0, byref(needed))
        buffer = ctypes.create_string_buffer(needed.value)
        if status == BUFFER_TOO_SMALL:
            status = self.lib.seqmix_state_save(state.pointer, buffer, needed, byref(needed))
        if status != 0:
            raise Error(status, self.lib.seqmix_last_error().decode())
        return buffer.raw

    def load(self, layer, blob):
        return Handle(self.lib.seqmix_state_destroy, self.lib.seqmix_state_load, layer.pointer,
                      blob, len(blob), None)

    def width(self, layer, name):
        """The last size of a slot: for "logits" the vocabulary, for "y" the layer's width."""
        for i in range(self.lib.seqmix_layer_slot_count(layer.pointer)):
            info = SlotInfo(struct_size=ctypes.sizeof(SlotInfo))
            self.lib.seqmix_layer_slot_info(layer.pointer, i, byref(info))
            if info.name.decode() == name:
                return info.shape[info.ndim - 1]
        raise KeyError(name)

    def forward(self, layer, state, **arrays):
        """forward(layer, state, tokens=..., logits_last=...): inputs and outputs by slot name."""
        kind = self.lib.seqmix_layer_type(layer.pointer)
        args = (Arg * len(arrays))()
        for arg, (name, array) in zip(args, arrays.items()):
            slot = c_int32()
            self.lib.seqmix_type_slot(kind, name.encode(), byref(slot))
            arg.slot = slot
            arg.tensor = ctypes.pointer(array.view)
        self.lib.seqmix_layer_forward(layer.pointer, state.pointer, args, len(args), None)


# ---- the program


def generate(seqmix, model, state, prompt, count):
    """Yields `count` bytes, each the likeliest: the prompt first, then single steps."""
    logits = Array(c_float, [1, seqmix.width(model, "logits_last")])
    piece = prompt
    for _ in range(count):
        seqmix.forward(model, state, tokens=Array(c_int32, [1, len(piece)], piece),
                       logits_last=logits)
        values = list(logits.values)
        piece = bytes([values.index(max(values))])
        yield piece


def child_by_child(seqmix, model, text):
    """Whether the children in turn give the whole model's logits, bit for bit."""
    tokens = Array(c_int32, [1, len(text)], text)
    whole = Array(c_float, [1, len(text), seqmix.width(model, "logits")])
    seqmix.forward(model, seqmix.state(model), tokens=tokens, logits=whole)
    parts = seqmix.state(model)
    x = None
    for i in range(seqmix.lib.seqmix_layer_child_count(model.pointer)):
        child = seqmix.child(model, i)
        y = Array(c_float, [1, len(text), seqmix.width(child, "y")])
        source = {"tokens": tokens} if i == 0 else {"x": x}
        seqmix.forward(child, seqmix.state_child(parts, i), **source, y=y)
        x = y
    return bytes(x.values) == bytes(whole.values)


def main(arguments):
    library = os.environ.get("SEQMIX_LIBRARY", "libseqmix.so.0")
    if arguments[:1] == ["--library"]:
        library, arguments = arguments[1], arguments[2:]
    path = arguments[0] if arguments else "models/shakespeare"
    prompt = os.fsencode(arguments[1]) if len(arguments) > 1 else b""
    prompt = prompt or b"ROMEO:\nWhat light"
    count = int(arguments[2]) if len(arguments) > 2 else 200

    seqmix = Seqmix(library)
    context = seqmix.context()
    model = seqmix.open(context, path)
    state = seqmix.state(model)

    out = sys.stdout.buffer
    out.write(prompt)
    text = b""
    for byte in generate(seqmix, model, state, prompt, count):
        text += byte
        out.write(byte)
        out.flush()
    out.write(b"\n")
    out.flush()
    failed = False

    def report(what, good):
        nonlocal failed
        failed |= not good
        print("%s: %s" % (what, "ok" if good else "FAILED"), file=sys.stderr)

    report("child by child, bit for bit", child_by_child(seqmix, model, prompt))

    # The state is all that must be kept to go on later, or elsewhere.
    blob = seqmix.save(state)
    loaded = seqmix.load(model, blob)
    more = [b"".join(generate(seqmix, model, s, text[-1:] or b"\n", 20)) for s in (state, loaded)]
    report("state of %d bytes saved and loaded" % len(blob), more[0] == more[1])

    # An error names the layer, the tensor, what was expected and what came.
    try:
        seqmix.forward(model, state, tokens=Array(c_int32, [1, 1], [65]),
                       logits_last=Array(c_float, [1, 3]))
        report("an error", False)
    except Error as error:
        report("an error (status %d): %s" % (error.status, error),
               error.status == -11 and "logits_last" in str(error))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
