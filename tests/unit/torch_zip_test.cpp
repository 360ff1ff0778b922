// Torch files: every rule of the container and of the pickle broken once by hand, programs that want
// something executed, and files that others wrote.
#include "models/formats/torch_zip.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "../support/shared_data.h"
#include "../support/torch_zip.h"
#include "base/crc32.h"
#include "checkpoint_files.h"
#include "models/formats/checkpoint.h"
#include "models/formats/pickle.h"

namespace {

using namespace seqmix_test;
using seqmix::Checkpoint;
using seqmix::DType;
using seqmix::Status;
using seqmix::StoredTensor;
using seqmix::TensorFile;

std::string message() { return seqmix::error_text::get(); }

#define EXPECT_CONTAINS(text, part)                            \
    EXPECT_NE(std::string(text).find(part), std::string::npos) \
        << "'" << (text) << "' should contain '" << (part) << "'"

TensorFile parse(const std::string& bytes) {
    TensorFile file;
    const Status status = seqmix::parse_torch_zip(bytes.data(), bytes.size(), "", file);
    EXPECT_TRUE(status.ok()) << message();
    return file;
}

std::string refused(const std::string& bytes, seqmix_status expected = SEQMIX_ERR_BAD_FORMAT) {
    TensorFile file;
    seqmix::error_text::clear();
    const Status status = seqmix::parse_torch_zip(bytes.data(), bytes.size(), "", file);
    EXPECT_EQ(status.code(), expected) << message();
    EXPECT_TRUE(file.tensors.empty());
    return status.ok() ? "accepted" : message();
}

// The same for a program whose storage "0" has six floats.
const std::string kSix = [] {
    std::string bytes;
    for (int i = 0; i < 6; ++i) {
        const auto value = static_cast<float>(i);
        bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    return bytes;
}();

std::string six(const std::string& body, const ZipOptions& options = {}) {
    return torch_zip_bytes(pickle::program(body), {{"0", kSix}}, options);
}
std::string six_floats() { return pickle::storage("FloatStorage", "0", 6); }
std::string matrix() { return pickle::tensor(six_floats(), 0, {2, 3}, {3, 1}); }
std::string simple() { return six(pickle::ordered_dict({{"a", matrix()}})); }

std::vector<float> floats(const StoredTensor& tensor) {
    std::vector<float> values(tensor.bytes / sizeof(float));
    if (!values.empty()) {
        std::memcpy(values.data(), tensor.data, tensor.bytes);
    }
    return values;
}

TEST(Crc32, IsThatOfZip) {
    EXPECT_EQ(seqmix::crc32("123456789", 9), 0xcbf43926u);
    EXPECT_EQ(seqmix::crc32(nullptr, 0), 0u);
    std::string text;
    for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(seqmix::crc32(text.data(), text.size()), plain_crc32(text)) << i;
        text.push_back(static_cast<char>(i * 37));
    }
}

// ------------------------------------------------------------------ what is read

TEST(TorchZip, MapsDenseTensorsAndCopiesOthers) {
    const std::string bytes = six(pickle::ordered_dict({
        {"whole", matrix()},
        {"transposed", pickle::tensor(six_floats(), 0, {3, 2}, {1, 3})},
        {"column", pickle::tensor(six_floats(), 1, {2}, {3})},
        {"slice", pickle::tensor(six_floats(), 3, {1, 3}, {77, 1})},
        {"expanded", pickle::tensor(six_floats(), 4, {3}, {0})},
        {"overlapping", pickle::tensor(six_floats(), 0, {2, 2}, {1, 1})},
        {"scalar", pickle::tensor(six_floats(), 5, {}, {})},
        {"empty", pickle::tensor(six_floats(), 6, {0, 3}, {3, 1})},
    }));
    const TensorFile file = parse(bytes);
    ASSERT_EQ(file.tensors.size(), 8u);
    const auto values = [&](const char* name) { return floats(file.tensors.at(name)); };
    const auto mapped = [&](const char* name) {
        const auto* data = static_cast<const char*>(file.tensors.at(name).data);
        return data >= bytes.data() && data <= bytes.data() + bytes.size();
    };
    EXPECT_EQ(values("whole"), (std::vector<float>{0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(values("transposed"), (std::vector<float>{0, 3, 1, 4, 2, 5}));
    EXPECT_EQ(file.tensors.at("transposed").shape, (std::vector<int64_t>{3, 2}));
    EXPECT_EQ(values("column"), (std::vector<float>{1, 4}));
    EXPECT_EQ(values("slice"), (std::vector<float>{3, 4, 5}));
    EXPECT_EQ(values("expanded"), (std::vector<float>{4, 4, 4}));
    EXPECT_EQ(values("overlapping"), (std::vector<float>{0, 1, 1, 2}));
    EXPECT_EQ(values("scalar"), (std::vector<float>{5}));
    EXPECT_TRUE(values("empty").empty());
    for (const char* name : {"whole", "slice", "scalar"}) {
        EXPECT_TRUE(mapped(name)) << name;
    }
    for (const char* name : {"transposed", "column", "expanded", "overlapping"}) {
        EXPECT_FALSE(mapped(name)) << name;
    }
    EXPECT_EQ(file.copies.size(), 4u);
}

TEST(TorchZip, KnowsEveryStorageType) {
    const struct {
        const char* type;
        const char* text;
        DType dtype;
        int64_t width;
    } types[] = {
        {"FloatStorage", "F32", DType::f32, 4},
        {"DoubleStorage", "F64", DType::f64, 8},
        {"HalfStorage", "F16", DType::f16, 2},
        {"BFloat16Storage", "BF16", DType::bf16, 2},
        {"LongStorage", "I64", DType::i64, 8},
        {"IntStorage", "I32", DType::i32, 4},
        {"ShortStorage", "I16", DType::unknown, 2},
        {"CharStorage", "I8", DType::i8, 1},
        {"ByteStorage", "U8", DType::u8, 1},
        {"BoolStorage", "BOOL", DType::boolean, 1},
        {"ComplexFloatStorage", "C64", DType::unknown, 8},
        {"ComplexDoubleStorage", "C128", DType::unknown, 16},
    };
    for (const auto& type : types) {
        const int64_t count = 16 / type.width;
        const std::string tensor =
            pickle::tensor(pickle::storage(type.type, "7", count), 0, {count}, {1});
        const TensorFile file = parse(torch_zip_bytes(
            pickle::program(pickle::dict({{"x", tensor}})), {{"7", std::string(16, 'x')}}));
        const StoredTensor& stored = file.tensors.at("x");
        EXPECT_EQ(stored.dtype, type.dtype) << type.type;
        EXPECT_STREQ(stored.dtype_text, type.text);
        EXPECT_EQ(stored.bytes, 16u);
    }
    EXPECT_CONTAINS(
        refused(six(pickle::dict(
                    {{"a", pickle::tensor(pickle::storage("QInt8Storage", "0", 6), 0, {6}, {1})}})),
                SEQMIX_ERR_UNSUPPORTED),
        "'torch.QInt8Storage'");
}

TEST(TorchZip, FindsTheStateDict) {
    const std::string inner = pickle::ordered_dict({{"a", matrix()}});
    const std::string other = pickle::ordered_dict({{"b", matrix()}});
    const struct {
        std::string root;
        const char* name;
    } rows[] = {
        {inner, "a"},
        {pickle::dict({{"a", matrix()}}), "a"},
        {pickle::dict({{"epoch", pickle::integer(-70000)}, {"state_dict", inner}}), "a"},
        {pickle::dict({{"model", other},
                       {"state_dict", inner},
                       {"acc", std::string("G@Y\x00\x00\x00\x00\x00\x00", 9)}}),
         "a"},
        {pickle::dict({{"state_dict", "N"}, {"model", inner}, {"model_state_dict", other}}), "a"},
        {pickle::dict({{"model_state_dict", inner}, {"optimizer", "}"}}), "a"},
        // state_dict() has an attribute that torch pickles as the state of the dict.
        {inner + pickle::dict({{"_metadata", pickle::ordered_dict({{"", pickle::dict({})}})}}) +
             "b",
         "a"},
        {pickle::dict(
             {{"a", pickle::reduce(pickle::global("torch._utils", "_rebuild_parameter"),
                                   pickle::tuple({matrix(), "\x88", pickle::ordered_dict()}))}}),
         "a"},
        // Through the memo, short and long, with an item set alone; lists and large integers.
        {pickle::ordered_dict() + std::string("r\x39\x30\x00\x00", 5) + pickle::text("a") +
             matrix() + "s",
         "a"},
        {pickle::dict({{"seeds",
                        "](K\x01K\x02"
                        "eNa"},
                       {"big", "\x8a\x0a" + std::string(10, '\x7f')},
                       {"model", inner}}),
         "a"},
    };
    for (const auto& row : rows) {
        const TensorFile file = parse(six(row.root));
        ASSERT_EQ(file.tensors.size(), 1u);
        EXPECT_EQ(file.tensors.begin()->first, row.name);
    }
    const auto unsupported = [](const std::string& body) {
        return refused(six(body), SEQMIX_ERR_UNSUPPORTED);
    };
    EXPECT_CONTAINS(unsupported(pickle::dict({{"weights", inner}})), "a dict of 1, is no state");
    EXPECT_CONTAINS(unsupported(pickle::dict({{"a", matrix()}, {"n", pickle::integer(1)}})),
                    "no state dict");
    EXPECT_CONTAINS(unsupported(matrix()), "the saved object is a tensor, expected a dict");
    EXPECT_CONTAINS(unsupported("}"), "a dict of 0");
    EXPECT_CONTAINS(unsupported("]"), "a list of 0");
    EXPECT_CONTAINS(refused(six(pickle::dict({{"a", matrix()}, {"a", matrix()}}))),
                    "tensor 'a' appears twice");
}

TEST(TorchZip, SharesStorages) {
    // The memo holds the storage; two names, one of them a slice of the other.
    const std::string bytes =
        six(pickle::dict({{"a", pickle::tensor(six_floats() + "q\x01", 0, {6}, {1})},
                          {"b", pickle::tensor("h\x01", 2, {3}, {1})}}));
    const TensorFile file = parse(bytes);
    const auto* a = static_cast<const char*>(file.tensors.at("a").data);
    EXPECT_EQ(static_cast<const char*>(file.tensors.at("b").data), a + 8);
}

// ------------------------------------------------------------------ the zip

TEST(TorchZip, ReadsPlainAndSaturatedDirectories) {
    for (const bool zip64 : {false, true}) {
        for (const bool saturated : {false, true}) {
            for (const char* comment : {"", "PK\x05\x06 is no end"}) {
                if (saturated && !zip64) {
                    continue;
                }
                ZipOptions options;
                options.zip64 = zip64;
                options.saturated = saturated;
                options.comment = comment;
                EXPECT_EQ(parse(six(pickle::dict({{"a", matrix()}}), options)).tensors.size(), 1u);
            }
        }
    }
}

TEST(TorchZip, ComparesChecksums) {
    const std::string good = simple();
    EXPECT_EQ(parse(good).tensors.size(), 1u);
    const auto flipped = [&](const std::string& near, size_t offset) {
        std::string bytes = good;
        const size_t place = bytes.find(near);
        EXPECT_NE(place, std::string::npos);
        bytes[place + offset] ^= 1;
        return bytes;
    };
    EXPECT_CONTAINS(refused(flipped(kSix, 9)),
                    "entry 'archive/data/0' is damaged: its checksum does not match");
    EXPECT_CONTAINS(refused(flipped("OrderedDict", 3)), "entry 'archive/data.pkl' is damaged");
    EXPECT_CONTAINS(refused(flipped("little", 0)), "entry 'archive/byteorder' is damaged");
    EXPECT_CONTAINS(refused(flipped("archive/version", 0)), "has another name at its place");
    // What no tensor needs is not read.
    parse(flipped("3\n", 0));
    // A writer without checksums.
    ZipOptions options;
    options.checksums = false;
    EXPECT_EQ(parse(six(pickle::dict({{"a", matrix()}}), options)).tensors.size(), 1u);
}

TEST(TorchZip, RefusesOtherZipFiles) {
    const std::string program = pickle::program(pickle::dict({{"a", matrix()}}));
    const auto unsupported = [](const ZipEntries& entries, const ZipOptions& options = {}) {
        return refused(zip_bytes(entries, options), SEQMIX_ERR_UNSUPPORTED);
    };
    const ZipEntries good = {{"m/data.pkl", program}, {"m/data/0", kSix}};
    EXPECT_EQ(parse(zip_bytes(good)).tensors.size(), 1u);
    EXPECT_CONTAINS(unsupported({{"word/document.xml", "x"}}), "without an entry NAME/data.pkl");
    EXPECT_CONTAINS(unsupported({}), "without an entry NAME/data.pkl");
    EXPECT_CONTAINS(unsupported({{"m/data.pkl", program}, {"m/constants.pkl", ""}}), "TorchScript");
    EXPECT_CONTAINS(unsupported({{"m/data.pkl", program}, {"m/byteorder", "big"}}),
                    "byte order 'big'");
    ZipOptions options;
    options.method = 8;
    EXPECT_CONTAINS(unsupported(good, options), "is compressed (method 8)");
    options = {};
    options.flags = 1;
    EXPECT_CONTAINS(unsupported(good, options), "is encrypted");
    EXPECT_CONTAINS(refused(zip_bytes({{"m/data.pkl", program}, {"n/data.pkl", program}})),
                    "two entries end in /data.pkl");
    EXPECT_CONTAINS(
        refused(zip_bytes({{"m/data.pkl", program}, {"m/data/0", kSix}, {"m/data/0", kSix}})),
        "two entries have the name 'm/data/0'");
    options = {};
    options.offsets = {0, 0};
    EXPECT_CONTAINS(refused(zip_bytes(good, options)), "has another name at its place");
    options.offsets = {0, 1u << 30};
    EXPECT_CONTAINS(refused(zip_bytes(good, options)), "is not at 1073741824");
    // Two entries of one name each, at one place: the bytes of one lie in the other.
    options.offsets = {0, 64};
    std::string inside = zip_bytes({{"m/data/0", kSix}});
    inside.resize(inside.find("PK\x01\x02"));
    const std::string outer(64, 'x');
    options.offsets = {0, outer.size() + 64};
    EXPECT_CONTAINS(
        refused(zip_bytes({{"m/data.pkl", outer + inside}, {"m/data/0", kSix}}, options)),
        "overlap");
}

TEST(TorchZip, RefusesDamagedDirectories) {
    const std::string good = simple();
    EXPECT_CONTAINS(refused(""), "0 bytes, too short for a zip file");
    EXPECT_CONTAINS(refused(good.substr(0, good.size() - 1)), "cut short or damaged");
    const size_t end = good.rfind("PK\x05\x06"), record = good.rfind("PK\x06\x06"),
                 locator = good.rfind("PK\x06\x07");
    const auto with = [&](size_t place, const std::string& bytes) {
        std::string copy = good;
        copy.replace(place, bytes.size(), bytes);
        return copy;
    };
    const std::string one = little_endian(1, 2);
    EXPECT_CONTAINS(refused(with(end + 4, one), SEQMIX_ERR_UNSUPPORTED), "several disks");
    EXPECT_CONTAINS(refused(with(end + 8, one), SEQMIX_ERR_UNSUPPORTED), "several disks");
    EXPECT_CONTAINS(refused(with(end + 8, one + one)), "the directory of 1 entries ends at");
    EXPECT_CONTAINS(refused(with(end + 8, little_endian(9, 2) + little_endian(9, 2))),
                    "no directory entry at");
    EXPECT_CONTAINS(refused(with(end + 12, little_endian(5, 4))), "a directory of 5 bytes");
    EXPECT_CONTAINS(refused(with(end + 16, little_endian(5, 4))), "at 5, expected to end");
    EXPECT_CONTAINS(refused(with(locator + 8, little_endian(~uint64_t{0}, 8))),
                    "the zip64 record is not at");
    EXPECT_CONTAINS(refused(with(record, "XX")), "the zip64 record is not at");
    // Without its locator the record is a hole behind the directory.
    EXPECT_CONTAINS(refused(with(locator, "XX")), "expected to end at");
    const size_t central = good.find("PK\x01\x02");
    EXPECT_CONTAINS(refused(with(central, "XX")), "no directory entry at");
    EXPECT_CONTAINS(refused(with(central + 28, little_endian(60000, 2))), "is cut short");
    EXPECT_CONTAINS(refused(with(central + 24, little_endian(3, 4))), "stored bytes for 3");
    EXPECT_CONTAINS(
        refused(with(central + 20, little_endian(1u << 30, 4) + little_endian(1u << 30, 4))),
        "ends beyond the directory");
}

// ------------------------------------------------------------------ the pickle

TEST(Pickle, ExecutesNothing) {
    using pickle::global, pickle::program, pickle::reduce, pickle::text, pickle::tuple;
    const struct {
        std::string program;
        const char* part;
    } rows[] = {
        {program(reduce(global("os", "system"), tuple({text("id")}))), "'os.system'"},
        {program(reduce(global("posix", "system"), tuple({text("id")}))), "'posix.system'"},
        {program(reduce(global("builtins", "eval"), tuple({text("1")}))), "'builtins.eval'"},
        {program(reduce(global("__builtin__", "exec"), tuple({text("1")}))), "'__builtin__.exec'"},
        {program(reduce(global("subprocess", "Popen"), tuple({text("id")}))), "'subprocess.Popen'"},
        {program(reduce(global("torch", "load"), tuple({text("x")}))), "'torch.load'"},
        {program(global("torch.serialization", "load")), "'torch.serialization.load'"},
        {program(global("torch._utils", "_rebuild_tensor")), "'torch._utils._rebuild_tensor'"},
        {program(global("torch._utils", "_rebuild_tensor_v3")), "_rebuild_tensor_v3'"},
        {program(global("torch", "Size")), "'torch.Size'"},
        {program(global("numpy.core.multiarray", "scalar")), "'numpy.core.multiarray.scalar'"},
        {program(global("argparse", "Namespace")), "'argparse.Namespace'"},
        {program(global("collections", "OrderedDict.__class__")), "OrderedDict.__class__'"},
        {program(global("", "")), "'.'"},
        {program("(ios\nsystem\n" + text("id")), "the operator INST"},
        {program("(" + text("id") + "ios\nsystem\n"), "the operator INST"},
        {program(text("os") + text("system") + "\x93"), "the operator STACK_GLOBAL"},
        {program("(" + global("collections", "OrderedDict") + "o"), "the operator OBJ"},
        {program(global("collections", "OrderedDict") + ")\x81"), "the operator NEWOBJ"},
        {program(global("collections", "OrderedDict") + ")}\x92"), "the operator NEWOBJ_EX"},
        {program("Pfile\n"), "the operator PERSID"},
        {program("\x82\x01"), "the operator EXT1"},
        {program("S'abc'\n"), "the operator STRING"},
        {program("I01\n"), "the operator INT"},
        {program("}0N"), "the operator POP"},
        {program("\xff"), "the operator of code 255"},
        {program(pickle::dict({{"a", "N"}}) + pickle::dict({{"__class__", text("x")}}) + "b"),
         "builds a dict of 1 from a dict of 1"},
        {program(pickle::ordered_dict() + "}b"), "builds a dict of 0 from a dict of 0"},
        {program(pickle::ordered_dict() + tuple({"N", "}"}) + "b"), "from a tuple of 2"},
        {program(global("collections", "OrderedDict") + pickle::dict({{"_metadata", "N"}}) + "b"),
         "builds collections.OrderedDict from a dict of 1"},
        {"\x80\x04N.", "is of protocol 4, expected 2"},
        {std::string("\x80\x00N.", 4), "is of protocol 0"},
        {"\x80\xffN.", "is of protocol 255"},
    };
    for (const auto& row : rows) {
        EXPECT_CONTAINS(refused(torch_zip_bytes(row.program), SEQMIX_ERR_UNSUPPORTED), row.part);
    }
    // Allowed names called in other ways.
    const struct {
        std::string body;
        const char* part;
    } calls[] = {
        {reduce(global("collections", "OrderedDict"), tuple({"]"})),
         "calls collections.OrderedDict with a tuple of 1"},
        {reduce(global("torch", "FloatStorage"), tuple({pickle::integer(9)})),
         "calls torch.FloatStorage"},
        {reduce(global("torch._utils", "_rebuild_parameter"), tuple({"N", "\x88", "}"})),
         "calls torch._utils._rebuild_parameter"},
        {reduce(global("torch._utils", "_rebuild_tensor_v2"), tuple({"N"})),
         "rebuilds a tensor from other values"},
        {reduce(text("os.system"), tuple({text("id")})), "calls the text 'os.system'"},
        {reduce(pickle::ordered_dict(), ")"), "calls a dict of 0"},
        {global("collections", "OrderedDict") + "}R", "with a dict of 0"},
    };
    for (const auto& call : calls) {
        EXPECT_CONTAINS(refused(six(call.body)), call.part);
    }
}

TEST(Pickle, RefusesDamagedPrograms) {
    using pickle::integer, pickle::program, pickle::text, pickle::tuple;
    const auto bad = [](const std::string& bytes) { return refused(torch_zip_bytes(bytes)); };
    EXPECT_CONTAINS(bad(""), "does not begin with the operator PROTO");
    EXPECT_CONTAINS(bad("}."), "does not begin with the operator PROTO");
    EXPECT_CONTAINS(bad("\x80\x02"), "ends without the operator STOP");
    EXPECT_CONTAINS(bad("\x80\x02}"), "ends without the operator STOP");
    EXPECT_CONTAINS(bad(program("}") + "x"), "1 bytes follow the operator STOP");
    EXPECT_CONTAINS(bad(program("")), "stops with 0 values");
    EXPECT_CONTAINS(bad(program("NN")), "stops with 2 values");
    EXPECT_CONTAINS(bad(program("(N")), "stops with 1 values");
    for (const char* cut :
         {"K", "M\x01", "J\x01\x01\x01", "\x8a", "\x8a\x02\x01", "\x8a\x0c\x01\x01\x01\x01",
          "G\x01\x01", "X\x01", "q", "r\x01\x01", "h", "j\x01", "cmodule", "cmodule\nname"}) {
        EXPECT_CONTAINS(bad(std::string("\x80\x02") + cut), "ends within an operator");
    }
    EXPECT_CONTAINS(bad(std::string("\x80\x02X\xff\xff\xff\xffxx")),
                    "a text of 4294967295 bytes, but only 2 follow");
    EXPECT_CONTAINS(bad(program(text("\xc3("))), "not UTF-8");
    EXPECT_CONTAINS(bad(program("Nh\x07")), "asks for memo entry 7");
    EXPECT_CONTAINS(bad(program("q\x07")), "too few values for the operator BINPUT");
    for (const char* body :
         {"\x85", "N\x86", "NN\x87", "R", "NR", "b", "Nb", "Q", "s", "}Ns", "(}NNt\x86", "N(R"}) {
        EXPECT_CONTAINS(bad(program(body)), "has too few values for the operator");
    }
    EXPECT_CONTAINS(bad(program("t")), "has no mark for the operator TUPLE");
    EXPECT_CONTAINS(bad(program("u")), "has no mark for the operator SETITEMS");
    EXPECT_CONTAINS(bad(program("(u")), "has too few values for the operator SETITEMS");
    EXPECT_CONTAINS(bad(program("](NNu")), "sets items of a list of 0");
    EXPECT_CONTAINS(bad(program("}(NNNu")), "sets items of a dict of 0, expected pairs");
    EXPECT_CONTAINS(bad(program(")(NNe")), "sets items of a tuple of 0, expected a list");
    EXPECT_CONTAINS(bad(program("NQ")), "a persistent id that is None");
    EXPECT_CONTAINS(bad(program(tuple({text("module")}) + "Q")), "is not ('storage', type, key");
    EXPECT_CONTAINS(bad(program(pickle::storage("FloatStorage", "0", -1))), "is not ('storage'");
}

TEST(Pickle, ChecksTensors) {
    const auto one = [](int64_t offset, const std::vector<int64_t>& shape,
                        const std::vector<int64_t>& strides) {
        SCOPED_TRACE("offset " + std::to_string(offset) + ", " + std::to_string(shape.size()) +
                     " axes " + std::to_string(shape.empty() ? 0 : shape[0]));
        return refused(
            six(pickle::dict({{"a", pickle::tensor(six_floats(), offset, shape, strides)}})));
    };
    EXPECT_CONTAINS(one(0, {7}, {1}),
                    "of shape (7) at offset 0 with strides (1), beyond its storage of 6");
    one(1, {6}, {1});
    one(-1, {2}, {1});
    one(6, {}, {});
    one(7, {0}, {1});
    one(0, {2, 3}, {4, 1});
    one(0, {2}, {int64_t{1} << 62});
    one(0, {3}, {int64_t{1} << 62});
    one(5, {2}, {INT64_MAX});
    EXPECT_CONTAINS(one(0, {-2}, {1}), "axis 0 has size the integer -2");
    EXPECT_CONTAINS(one(0, {2}, {-1}), "and stride the integer -1");
    EXPECT_CONTAINS(one(0, {2}, {1, 1}), "a tensor of 1 sizes and 2 strides");
    EXPECT_CONTAINS(one(0, std::vector<int64_t>(65, 1), std::vector<int64_t>(65, 1)),
                    "a tensor of 65 sizes");
    EXPECT_CONTAINS(one(0, {int64_t{1} << 40, int64_t{1} << 40}, {0, 0}), "elements overflows");
    EXPECT_CONTAINS(one(0, {int64_t{1} << 40, int64_t{1} << 40, 0}, {0, 0, 0}),
                    "elements overflows");
    const std::string expanded =
        six(pickle::dict({{"a", pickle::tensor(six_floats(), 0, {1 << 30}, {0})}}));
    EXPECT_CONTAINS(refused(expanded, SEQMIX_ERR_LIMIT),
                    "tensor 'a' of 4294967296 bytes is not in C order");
    const auto stored = [](const std::string& type, const std::string& key, int64_t count) {
        return refused(six(
            pickle::dict({{"a", pickle::tensor(pickle::storage(type, key, count), 0, {1}, {1})}})));
    };
    EXPECT_CONTAINS(stored("FloatStorage", "1", 6), "there is no entry data/'1'");
    EXPECT_CONTAINS(stored("FloatStorage", "../data.pkl", 6), "there is no entry");
    EXPECT_CONTAINS(stored("FloatStorage", "0", 7), "has 24 bytes, expected 7 elements of 4");
    EXPECT_CONTAINS(stored("DoubleStorage", "0", 6), "has 24 bytes, expected 6 elements of 8");
    EXPECT_CONTAINS(stored("DoubleStorage", "0", int64_t{1} << 62), "has 24 bytes, expected");
}

TEST(Pickle, BoundsWhatItKeeps) {
    const auto limited = [](const std::string& body) {
        return refused(torch_zip_bytes(pickle::program(body)), SEQMIX_ERR_LIMIT);
    };
    EXPECT_CONTAINS(limited(std::string(1001, '(')), "more than 1000 nested values");
    EXPECT_CONTAINS(limited(std::string(seqmix::kMaxPickleObjects + 1, '}')), "containers");
    EXPECT_CONTAINS(limited(std::string(2 * seqmix::kMaxPickleObjects + 1, 'N')),
                    "values on the stack");
    std::string memo = "N";
    for (size_t i = 0; i <= seqmix::kMaxPickleObjects; ++i) {
        memo += "r" + little_endian(i, 4);
    }
    EXPECT_CONTAINS(limited(memo), "memo entries");
    EXPECT_CONTAINS(limited(std::string(seqmix::kMaxPickle, 'N')), "expected at most 67108864");
    // A dict in itself, and a tuple a hundred thousand deep: neither is walked.
    EXPECT_CONTAINS(
        refused(six("}q\x01" + pickle::text("model") + "h\x01s"), SEQMIX_ERR_UNSUPPORTED),
        "is no state dict");
    EXPECT_CONTAINS(refused(six(")" + std::string(100'000, '\x85')), SEQMIX_ERR_UNSUPPORTED),
                    "a tuple of 1");
}

// ------------------------------------------------------------------ checkpoints

TEST(Checkpoint, ReadsTorchFilesByTheirBytes) {
    const TempFolder folder;
    Checkpoint checkpoint;
    for (const char* name : {"a.pt", "a.pth", "a.ckpt", "a.bin", "a", "a.safetensors"}) {
        ASSERT_TRUE(seqmix::open_checkpoint(folder.write(name, simple()), checkpoint).ok())
            << message();
        EXPECT_EQ(checkpoint.format, "torch zip");
        EXPECT_EQ(checkpoint.tensors.size(), 1u);
        EXPECT_EQ(checkpoint.files.size(), 1u);
    }
    folder.write("weights.ckpt", simple());
    ASSERT_TRUE(seqmix::open_checkpoint(folder.path(), checkpoint).ok()) << message();
    folder.write("pytorch_model.bin", six(pickle::ordered_dict({{"b", matrix()}})));
    folder.write("config.json", "{}");
    ASSERT_TRUE(seqmix::open_checkpoint(folder.path(), checkpoint).ok()) << message();
    EXPECT_EQ(checkpoint.tensors.begin()->first, "b");
    EXPECT_NE(checkpoint.config, nullptr);
    const std::string bytes = simple();
    ASSERT_TRUE(
        seqmix::open_checkpoint_in_memory(bytes.data(), bytes.size(), "{}", checkpoint).ok());
    EXPECT_EQ(checkpoint.format, "torch zip");
    const std::string path =
        folder.write("evil.pt", torch_zip_bytes(pickle::program(pickle::global("os", "system"))));
    EXPECT_EQ(seqmix::open_checkpoint(path, checkpoint).code(), SEQMIX_ERR_UNSUPPORTED);
    EXPECT_CONTAINS(message(), "evil.pt: the pickle names 'os.system'");
}

TEST(Checkpoint, ReadsTorchShards) {
    const TempFolder folder;
    const std::string index = "pytorch_model.bin.index.json";
    const auto transposed = pickle::tensor(six_floats(), 0, {3, 2}, {1, 3});
    folder.write("pytorch_model-1.bin", six(pickle::ordered_dict({{"a", transposed}})));
    folder.write("pytorch_model-2.bin", six(pickle::ordered_dict({{"b", matrix()}})));
    folder.write(index, R"({"weight_map":{"a":"pytorch_model-1.bin","b":"pytorch_model-2.bin"}})");
    Checkpoint checkpoint;
    ASSERT_TRUE(seqmix::open_checkpoint(folder.path(), checkpoint).ok()) << message();
    EXPECT_EQ(checkpoint.format, "torch zip shards");
    EXPECT_EQ(checkpoint.files.size(), 2u);
    EXPECT_EQ(floats(checkpoint.tensors.at("a")), (std::vector<float>{0, 3, 1, 4, 2, 5}));
    folder.write(index, R"({"weight_map":{"a":"../x.bin"}})");
    EXPECT_EQ(seqmix::open_checkpoint(folder.path(), checkpoint).code(), SEQMIX_ERR_BAD_FORMAT);
    EXPECT_CONTAINS(message(), "expected a file NAME.bin in the same folder");
    folder.write(index, R"({"weight_map":{"a":"model-1.safetensors"}})");
    EXPECT_EQ(seqmix::open_checkpoint(folder.path(), checkpoint).code(), SEQMIX_ERR_BAD_FORMAT);
}

TEST(Checkpoint, OpensTorchFilesOfOthers) {
    const struct {
        const char* path;
        size_t tensors;
        const char* name;
        std::vector<int64_t> shape;
    } rows[] = {
        {"golden/mamba-hf-e-original", 23, "backbone.layers.1.mixer.A_log", {64, 16}},
        {"golden/longconv-op-hyenadna-original", 60, "model.lm_head.weight", {16, 16}},
        {"golden/longconv-op-h3/state_dict.pt", 17, "kernel.kernel.A_imag", {6, 4}},
        {"golden/s4-op-s4d-minimal/state_dict.pt", 7, "kernel.C", {6, 8, 2}},
        {"golden/s4-op-block-diag-ckpt/model.ckpt",
         8,
         "model.layers.0.layer.layer.kernel.C",
         {1, 6, 8, 2}},
        {"data/s4-smnist/s4_smnist_ckpt.pth", 52, "s4_layers.3.layer.kernel.P", {1, 128, 32, 2}},
        {"data/s4d-cifar10/ethorondor_ckpt.pth",
         40,
         "s4_layers.0.output_linear.0.weight",
         {256, 128, 1}},
        {"data/ckconv/ckcnn_smnist_30.pt", 52, "backbone.0.shortcut.0.weight", {30, 1, 1}},
        {"data/adder/mingpt_adder.pt", 44, "lm_head.weight", {10, 48}},
        {"data/makemore/makemore_transformer.pt", 57, "lm_head.weight", {27, 64}},
        {"data/rwkv7-reverse/260123_reverse_L2_only_rwkv7.pth", 99, "e.weight", {12, 32}},
    };
    for (const auto& row : rows) {
        SEQMIX_NEED_SHARED(row.path);
        Checkpoint checkpoint;
        ASSERT_TRUE(seqmix::open_checkpoint(shared_path(row.path), checkpoint).ok()) << message();
        EXPECT_EQ(checkpoint.format, "torch zip");
        EXPECT_EQ(checkpoint.tensors.size(), row.tensors) << row.path;
        const auto found = checkpoint.tensors.find(row.name);
        ASSERT_NE(found, checkpoint.tensors.end()) << row.path;
        EXPECT_EQ(found->second.shape, row.shape) << row.path;
    }
}

}  // namespace
