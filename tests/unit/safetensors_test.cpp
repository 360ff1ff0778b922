// The container: every rule of the format broken once by hand, and files that others wrote.
#include "models/formats/safetensors.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "../support/shared_data.h"
#include "checkpoint_files.h"
#include "models/formats/checkpoint.h"

namespace {

using seqmix::Checkpoint;
using seqmix::DType;
using Safetensors = seqmix::TensorFile;
using seqmix::Status;
using seqmix_test::read_bytes;
using seqmix_test::safetensors_bytes;
using seqmix_test::shared_path;
using seqmix_test::TempFolder;

std::string message() { return seqmix::error_text::get(); }

#define EXPECT_CONTAINS(text, part)                            \
    EXPECT_NE(std::string(text).find(part), std::string::npos) \
        << "'" << (text) << "' should contain '" << (part) << "'"

std::string refused_bytes(const std::string& bytes,
                          seqmix_status expected = SEQMIX_ERR_BAD_FORMAT) {
    Safetensors file;
    const Status status = seqmix::parse_safetensors(bytes.data(), bytes.size(), "", file);
    EXPECT_EQ(status.code(), expected) << message();
    EXPECT_TRUE(file.tensors.empty());
    return status.ok() ? "accepted" : message();
}

std::string refused(const std::string& header, size_t size,
                    seqmix_status expected = SEQMIX_ERR_BAD_FORMAT) {
    return refused_bytes(safetensors_bytes(header, size), expected);
}

// One tensor 'x' with the given members.
std::string x(const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"x":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
           offsets + "}}";
}

Safetensors parse(const std::string& bytes) {
    Safetensors file;
    const Status status = seqmix::parse_safetensors(bytes.data(), bytes.size(), "", file);
    EXPECT_TRUE(status.ok()) << message();
    return file;
}

TEST(Safetensors, ReadsTensorsAndMetadata) {
    const std::string bytes = safetensors_bytes(
        R"({"b":{"dtype":"BF16","shape":[3],"data_offsets":[24,30]},"__metadata__":{"k":"v"},)"
        R"("a":{"data_offsets":[0,24],"note":{"any":[1]},"shape":[2,3],"dtype":"F32"},)"
        R"("empty":{"dtype":"I64","shape":[0,5],"data_offsets":[30,30]},)"
        R"("scalar":{"dtype":"U8","shape":[],"data_offsets":[30,31]}}   )",
        31);
    const Safetensors file = parse(bytes);
    ASSERT_EQ(file.tensors.size(), 4u);
    EXPECT_EQ(file.metadata.at("k"), "v");
    const auto& a = file.tensors.at("a");
    EXPECT_EQ(a.dtype, DType::f32);
    EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(a.bytes, 24u);
    const auto& b = file.tensors.at("b");
    EXPECT_STREQ(b.dtype_text, "BF16");
    EXPECT_EQ(static_cast<const char*>(b.data), static_cast<const char*>(a.data) + 24);
    EXPECT_EQ(static_cast<const char*>(a.data), bytes.data() + bytes.size() - 31);
    EXPECT_TRUE(file.tensors.at("scalar").shape.empty());
    EXPECT_EQ(file.tensors.at("empty").bytes, 0u);
    EXPECT_TRUE(parse(safetensors_bytes("{}", 0)).tensors.empty());
}

TEST(Safetensors, KnowsTheWidthOfEveryDtype) {
    const std::pair<const char*, int64_t> types[] = {
        {"F64", 64},        {"F32", 32},       {"F16", 16},    {"BF16", 16},   {"I64", 64},
        {"I32", 32},        {"I16", 16},       {"I8", 8},      {"U64", 64},    {"U32", 32},
        {"U16", 16},        {"U8", 8},         {"BOOL", 8},    {"F8_E4M3", 8}, {"F8_E5M2", 8},
        {"F8_E8M0", 8},     {"F4", 4},         {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"C64", 64},
        {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}};
    for (const auto& [type, bits] : types) {
        const int64_t size = 4 * bits / 8;
        const std::string end = std::to_string(size);
        const Safetensors file = parse(
            safetensors_bytes(x(type, "[2,2]", "[0," + end + "]"), static_cast<size_t>(size)));
        EXPECT_STREQ(file.tensors.at("x").dtype_text, type);
    }
    EXPECT_CONTAINS(refused(x("F4", "[3]", "[0,2]"), 2), "does not end at a whole byte");
    EXPECT_CONTAINS(refused(x("Q4_K", "[4]", "[0,4]"), 4, SEQMIX_ERR_UNSUPPORTED),
                    "tensor 'x' has the unknown dtype 'Q4_K'");
    refused(x("f32", "[1]", "[0,4]"), 4, SEQMIX_ERR_UNSUPPORTED);
}

TEST(Safetensors, ChecksTheHeaderLength) {
    EXPECT_CONTAINS(refused_bytes(""), "0 bytes, too short");
    refused_bytes("1234567");
    EXPECT_CONTAINS(refused_bytes(std::string(8, '\0')), "does not begin with '{'");
    std::string bytes = safetensors_bytes("{}", 0);
    bytes[0] = 3;
    EXPECT_CONTAINS(refused_bytes(bytes), "header of 3 bytes, but only 2 follow");
    EXPECT_CONTAINS(refused_bytes(std::string(8, '\xff') + "{}"),
                    "header of 18446744073709551615 bytes");
    bytes[3] = 6;  // 100,663,299
    EXPECT_CONTAINS(refused_bytes(bytes), "expected at most 100000000");
    EXPECT_CONTAINS(refused(" {}", 0), "does not begin with '{'");
    EXPECT_CONTAINS(refused("[]", 0), "does not begin with '{'");
    EXPECT_CONTAINS(refused("\xef\xbb\xbf{}", 0), "does not begin with '{'");
    EXPECT_CONTAINS(refused("{} x", 0), "not valid JSON");
    EXPECT_CONTAINS(refused("{", 0), "not valid JSON");
    EXPECT_CONTAINS(refused(x("F32", "[NaN]", "[0,4]"), 4), "not valid JSON");
    refused(std::string("{}\0", 3), 0);
}

TEST(Safetensors, ChecksTheMembersOfATensor) {
    EXPECT_CONTAINS(refused(R"({"x":3})", 0), "tensor 'x' is 3, expected an object");
    EXPECT_CONTAINS(refused(R"({"x":{}})", 0), "no 'dtype'");
    EXPECT_CONTAINS(refused(R"({"x":{"dtype":5,"shape":[],"data_offsets":[0,1]}})", 1),
                    "no 'dtype'");
    EXPECT_CONTAINS(refused(R"({"x":{"dtype":"U8","data_offsets":[0,1]}})", 1), "no 'shape'");
    EXPECT_CONTAINS(refused(R"({"x":{"dtype":"U8","shape":[]}})", 1), "'data_offsets'");
    EXPECT_CONTAINS(refused(x("U8", "4", "[0,4]"), 4), "no 'shape' that is an array");
    EXPECT_CONTAINS(refused(x("U8", "[-1]", "[0,4]"), 4), "'shape' holds -1, expected sizes");
    EXPECT_CONTAINS(refused(x("U8", "[1.5]", "[0,4]"), 4), "'shape' holds 1.5");
    EXPECT_CONTAINS(refused(x("U8", "[4.0]", "[0,4]"), 4), "'shape' holds");
    EXPECT_CONTAINS(refused(x("U8", "[\"4\"]", "[0,4]"), 4), "'shape' holds '4'");
    for (const char* offsets : {"[0]", "[0,4,4]", "4", "[-0,4]", "[0,4.0]", "[null,4]", "[0,\"4\"]",
                                "[0,18446744073709551615]"}) {
        EXPECT_CONTAINS(refused(x("U8", "[4]", offsets), 4), "must be two byte offsets");
    }
}

TEST(Safetensors, ChecksSizesForOverflow) {
    for (const char* shape : {"[4294967296,4294967296]", "[9223372036854775807]",
                              "[9223372036854775807,2,0]", "[2305843009213693952,2]"}) {
        EXPECT_CONTAINS(refused(x("F32", shape, "[0,0]"), 0), "overflows");
    }
    EXPECT_CONTAINS(refused(x("F32", "[9223372036854775808]", "[0,0]"), 0), "expected sizes");
    EXPECT_CONTAINS(refused(x("U8", "[8]", "[9223372036854775804,8]"), 8), "beyond any file");
}

TEST(Safetensors, ChecksThatTensorsTileTheBytes) {
    EXPECT_CONTAINS(refused(x("F32", "[2,12]", "[0,100]"), 100),
                    "safetensors: tensor 'x' ends at 100, expected 96 (shape (2,12) f32)");
    EXPECT_CONTAINS(refused(x("F32", "[2]", "[8,0]"), 8), "ends at 0, expected 16");
    EXPECT_CONTAINS(refused(x("U8", "[4]", "[1,5]"), 5),
                    "begins at 1, expected 0 (the first byte)");
    EXPECT_CONTAINS(refused(x("U8", "[4]", "[0,4]"), 5), "1 bytes follow the last tensor");
    EXPECT_CONTAINS(refused("{}", 5), "5 bytes follow the last tensor");
    EXPECT_CONTAINS(refused(x("U8", "[4]", "[0,4]"), 3), "ends at 4, but the file holds 3 bytes");
    const auto two = [](const char* a, const char* b) {
        return std::string(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)") + a +
               R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}";
    };
    EXPECT_CONTAINS(refused(two("[0,4]", "[5,9]"), 9),
                    "tensor 'b' begins at 5, expected 4 (the end of 'a')");
    EXPECT_CONTAINS(refused(two("[0,4]", "[3,7]"), 7), "tensor 'b' begins at 3, expected 4");
    refused(two("[0,4]", "[0,4]"), 4);
    EXPECT_EQ(parse(safetensors_bytes(two("[4,8]", "[0,4]"), 8)).tensors.size(), 2u);
    // An empty tensor between two bytes of another is an overlap.
    refused(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
            R"("e":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
            4);
}

TEST(Safetensors, RefusesDuplicatesAndOddMetadata) {
    EXPECT_CONTAINS(refused(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                            R"("x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                            2),
                    "key 'x' appears twice");
    EXPECT_CONTAINS(
        refused(R"({"x":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
        "key 'dtype' appears twice");
    EXPECT_CONTAINS(refused(R"({"__metadata__":{"a":1}})", 0), "key 'a' is 1, expected a string");
    EXPECT_CONTAINS(refused(R"({"__metadata__":null})", 0), "'__metadata__' is null");
    EXPECT_CONTAINS(refused(R"({"__metadata__":{},"__metadata__":{}})", 0), "appears twice");
}

TEST(Safetensors, MessagesAreOneShortLine) {
    const std::string name(3000, 'n');
    std::string text = refused("{\"" + name + "\\n\":{\"dtype\":1}}", 0);
    EXPECT_LT(text.size(), 300u);
    text = refused(R"({"a\nb":{"dtype":1}})", 0);
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
}

TEST(Safetensors, EveryTruncationOfARealFileIsRefused) {
    SEQMIX_NEED_SHARED("golden/mamba-op-scan-l1-n1.safetensors");
    const std::string bytes = read_bytes(shared_path("golden/mamba-op-scan-l1-n1.safetensors"));
    for (size_t size = 0; size < bytes.size(); ++size) {
        // Of its own size, so that a sanitizer sees a read beyond it.
        const std::vector<char> part(bytes.begin(), bytes.begin() + static_cast<long>(size));
        Safetensors file;
        ASSERT_FALSE(seqmix::parse_safetensors(part.data(), part.size(), "", file).ok()) << size;
    }
}

// ------------------------------------------------------------------ files and folders

std::string open_fails(const std::string& path, seqmix_status expected) {
    Checkpoint checkpoint;
    const Status status = seqmix::open_checkpoint(path, checkpoint);
    EXPECT_EQ(status.code(), expected) << path << ": " << message();
    EXPECT_TRUE(checkpoint.format.empty());
    return status.ok() ? "opened" : message();
}

TEST(MappedFile, RefusesWhatIsNoFile) {
    const TempFolder folder;
    std::shared_ptr<const seqmix::MappedFile> file;
    EXPECT_EQ(seqmix::MappedFile::open(folder.path(), file).code(), SEQMIX_ERR_IO);
    EXPECT_CONTAINS(message(), folder.path() + "': it is a folder");
    EXPECT_EQ(seqmix::MappedFile::open(folder.file("absent"), file).code(), SEQMIX_ERR_IO);
    EXPECT_CONTAINS(message(), folder.file("absent") + "': No such file");
    ASSERT_EQ(::mkfifo(folder.file("pipe").c_str(), 0600), 0);
    EXPECT_EQ(seqmix::MappedFile::open(folder.file("pipe"), file).code(), SEQMIX_ERR_IO);
    EXPECT_CONTAINS(message(), "not a regular file");
    EXPECT_EQ(seqmix::MappedFile::open(folder.file(std::string(5000, 'a')), file).code(),
              SEQMIX_ERR_IO);
    EXPECT_CONTAINS(message(), "aaa': File name too long");
    EXPECT_EQ(file, nullptr);

    ASSERT_TRUE(seqmix::MappedFile::open(folder.write("empty", ""), file).ok());
    EXPECT_EQ(file->size(), 0u);
    EXPECT_TRUE(file->text().empty());
    file->advise(seqmix::MappedFile::Advice::will_need, 0, 10);
    ASSERT_TRUE(seqmix::MappedFile::open(folder.write("some", "bytes"), file).ok());
    EXPECT_EQ(file->text(), "bytes");
    file->advise(seqmix::MappedFile::Advice::sequential, 2, 1000);
}

TEST(Checkpoint, RefusesOtherContainersByName) {
    const TempFolder folder;
    EXPECT_CONTAINS(open_fails(folder.file("absent"), SEQMIX_ERR_IO), "is not there");
    EXPECT_CONTAINS(open_fails(folder.path(), SEQMIX_ERR_IO), "holds none of model.safetensors, ");
    EXPECT_CONTAINS(open_fails(folder.write("a.pt", "PK\x03\x04 and more"), SEQMIX_ERR_BAD_FORMAT),
                    "torch zip: ");
    EXPECT_CONTAINS(open_fails(folder.write("a", "GGUF\x03"), SEQMIX_ERR_BAD_FORMAT), "GGUF");
    EXPECT_CONTAINS(open_fails(folder.write("b.gguf", ""), SEQMIX_ERR_UNSUPPORTED), "GGUF");
    EXPECT_CONTAINS(open_fails(folder.write("old.pth", "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9"),
                               SEQMIX_ERR_UNSUPPORTED),
                    "before version 1.6");
    for (const char* name : {"a.bin", "a.ckpt", "a.pth", "a.pt"}) {
        open_fails(folder.write(name, "something else"), SEQMIX_ERR_UNSUPPORTED);
    }
    open_fails(folder.write("b.safetensors", ""), SEQMIX_ERR_BAD_FORMAT);
    folder.write("pytorch_model.bin.index.json", "{}");
    EXPECT_CONTAINS(open_fails(folder.path(), SEQMIX_ERR_BAD_FORMAT), "no 'weight_map'");
    folder.write("pytorch_model.bin", "PK");
    EXPECT_CONTAINS(open_fails(folder.path(), SEQMIX_ERR_UNSUPPORTED),
                    "neither safetensors nor a torch zip");
}

TEST(Checkpoint, ReadsTheConfigBesideTheFile) {
    const TempFolder folder;
    const std::string path = folder.write("model.safetensors", safetensors_bytes({{"x", {2}}}));
    Checkpoint checkpoint;
    ASSERT_TRUE(seqmix::open_checkpoint(path, checkpoint).ok()) << message();
    EXPECT_EQ(checkpoint.config, nullptr);
    EXPECT_EQ(checkpoint.format, "safetensors");
    EXPECT_EQ(checkpoint.bytes, std::filesystem::file_size(path));
    EXPECT_EQ(checkpoint.metadata.at("format"), "pt");
    folder.write("config.json", R"({"hidden_size": 5, "limit": [0, Infinity]})");
    for (const std::string& name : {path, folder.path(), folder.path() + "/"}) {
        ASSERT_TRUE(seqmix::open_checkpoint(name, checkpoint).ok()) << message();
        ASSERT_NE(checkpoint.config, nullptr);
        std::optional<int64_t> size;
        ASSERT_TRUE(seqmix::get_int(*checkpoint.config, "", "hidden_size", size).ok());
        EXPECT_EQ(size, 5);
    }
    folder.write("config.json", "[1]");
    Checkpoint other;
    EXPECT_EQ(seqmix::open_checkpoint(path, other).code(), SEQMIX_ERR_BAD_FORMAT);
    EXPECT_CONTAINS(message(), "is an array of 1, expected an object");
    folder.write("config.json", "{");
    open_fails(path, SEQMIX_ERR_BAD_FORMAT);
}

TEST(Checkpoint, ReadsShards) {
    const TempFolder folder;
    const std::string index = "model.safetensors.index.json";
    folder.write("model-1.safetensors", safetensors_bytes({{"a", {2}}, {"b", {3}}}));
    folder.write("model-2.safetensors", safetensors_bytes({{"c", {4}}}));
    folder.write(index, R"({"weight_map":{"a":"model-1.safetensors","c":"model-2.safetensors"}})");
    Checkpoint checkpoint;
    ASSERT_TRUE(seqmix::open_checkpoint(folder.path(), checkpoint).ok()) << message();
    EXPECT_EQ(checkpoint.format, "safetensors shards");
    EXPECT_EQ(checkpoint.tensors.size(), 3u);
    EXPECT_EQ(checkpoint.files.size(), 2u);

    const auto refuse = [&](const char* text) {
        folder.write(index, text);
        return open_fails(folder.path(), SEQMIX_ERR_BAD_FORMAT);
    };
    for (const char* file :
         {"../model-1.safetensors", "/etc/x.safetensors", "a\\\\b.safetensors", "..", "",
          ".safetensors", "model-1.bin", "C:x.safetensors", "x\\u0000.safetensors"}) {
        const std::string text = std::string(R"({"weight_map":{"a":")") + file + R"("}})";
        EXPECT_CONTAINS(refuse(text.c_str()), "in the same folder");
    }
    EXPECT_CONTAINS(refuse(R"({"weight_map":{"d":"model-1.safetensors"}})"),
                    "tensor 'd' is not in 'model-1.safetensors'");
    EXPECT_CONTAINS(refuse(R"({"weight_map":{"a":5}})"), "tensor 'a' is in 5");
    EXPECT_CONTAINS(refuse(R"({"weight_map":[]})"), "no 'weight_map'");
    EXPECT_CONTAINS(refuse("{}"), "no 'weight_map'");
    refuse("{");
    EXPECT_CONTAINS(
        refuse(R"({"weight_map":{"a":"model-1.safetensors","a":"model-2.safetensors"}})"),
        "key 'a' appears twice");

    folder.write(index, R"({"weight_map":{"a":"model-3.safetensors"}})");
    EXPECT_CONTAINS(open_fails(folder.path(), SEQMIX_ERR_IO), "model-3.safetensors");
    folder.write("model-2.safetensors", safetensors_bytes({{"c", {4}}, {"b", {3}}}));
    EXPECT_CONTAINS(
        refuse(R"({"weight_map":{"a":"model-1.safetensors","c":"model-2.safetensors"}})"),
        "tensor 'b' is in two files, 'model-1.safetensors' and 'model-2.safetensors'");
}

TEST(Checkpoint, OpensFilesOfOthers) {
    struct Row {
        const char* path;
        size_t tensors;
        const char* name;
        std::vector<int64_t> shape;
    };
    const Row rows[] = {
        {"data/silero-vad/silero_vad_16k.safetensors", 15, "stft_conv.weight", {258, 1, 256}},
        {"data/mambalite/mamba_kws10.safetensors", 13, "mamba.x_proj.weight", {36, 128}},
        {"golden/mamba-hf-d-sharded", 22, "backbone.norm_f.weight", {32}},
        {"golden/mamba-hf-a-base/expected.safetensors", 23, "logits", {2, 40, 64}},
    };
    for (const Row& row : rows) {
        SEQMIX_NEED_SHARED(row.path);
        Checkpoint checkpoint;
        ASSERT_TRUE(seqmix::open_checkpoint(shared_path(row.path), checkpoint).ok()) << message();
        EXPECT_EQ(checkpoint.tensors.size(), row.tensors) << row.path;
        EXPECT_EQ(checkpoint.tensors.at(row.name).shape, row.shape);
    }
}

TEST(Checkpoint, OpensEveryGoldenFile) {
    SEQMIX_NEED_SHARED("golden");
    int count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(shared_path("golden"))) {
        if (entry.path().extension() == ".safetensors") {
            Checkpoint checkpoint;
            EXPECT_TRUE(seqmix::open_checkpoint(entry.path().string(), checkpoint).ok())
                << message();
            ++count;
        }
    }
    EXPECT_GT(count, 50);
}

}  // namespace
