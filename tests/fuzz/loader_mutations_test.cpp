// Damaged files through the C API: 2,000 random truncations and 2,000 random bit flips of each of a
// safetensors file, a converted one, its config.json, torch zip files, GGUF files and a saved state, with fixed seeds. Every
// truncation, and every flip in a saved state (it is checksummed), gives a failing status with a
// message; every flip in the others gives that, or a model that runs: with unchanged numbers where
// the file is a torch zip with checksums. The counts are printed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../support/gguf.h"
#include "../support/llama2c.h"
#include "../support/shared_data.h"
#include "../support/torch_zip.h"
#include "../unit/checkpoint_files.h"
#include "seqmix/seqmix.h"

namespace {

using seqmix_test::read_bytes;
using seqmix_test::TempFolder;

template <auto Release>
struct Releaser {
    template <class T>
    void operator()(T* handle) const {
        Release(handle);
    }
};
using Context = std::unique_ptr<seqmix_context, Releaser<seqmix_context_release>>;
using Layer = std::unique_ptr<seqmix_layer, Releaser<seqmix_layer_release>>;
using State = std::unique_ptr<seqmix_state, Releaser<seqmix_state_destroy>>;

Context make_context() {
    seqmix_context_options options{};
    options.struct_size = sizeof options;
    options.threads = 1;
    seqmix_context* context = nullptr;
    EXPECT_EQ(seqmix_context_create(&options, &context), SEQMIX_OK) << seqmix_last_error();
    return Context(context);
}

struct Slot {
    int32_t number = -1;
    std::vector<int64_t> shape;
};

Slot find_slot(const seqmix_layer* layer, const std::string& name) {
    for (size_t i = 0; i < seqmix_layer_slot_count(layer); ++i) {
        seqmix_slot_info info{};
        info.struct_size = sizeof info;
        if (seqmix_layer_slot_info(layer, i, &info) == SEQMIX_OK && name == info.name) {
            return {info.slot, std::vector<int64_t>(info.shape, info.shape + info.ndim)};
        }
    }
    return {};
}

// Five tokens from and into `state`, all logits.
seqmix_status run(const seqmix_layer* layer, seqmix_state* state,
                  std::vector<float>* out_logits = nullptr) {
    const Slot tokens = find_slot(layer, "tokens");
    const Slot logits = find_slot(layer, "logits");
    if (tokens.number < 0 || logits.number < 0 || logits.shape.size() != 3) {
        ADD_FAILURE() << "the model has no tokens or no logits";
        return SEQMIX_ERR_INTERNAL;
    }
    constexpr int64_t kTokens = 5;
    const int64_t vocabulary = logits.shape[2];
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < kTokens; ++i) {
        ids.push_back((7 * i + 3) % vocabulary);
    }
    std::vector<float> values(static_cast<size_t>(kTokens * vocabulary));
    int64_t in_shape[] = {1, kTokens};
    int64_t out_shape[] = {1, kTokens, vocabulary};
    seqmix_tensor in{}, out{};
    in.data = ids.data();
    in.device.device_type = SEQMIX_DL_CPU;
    in.ndim = 2;
    in.dtype = {SEQMIX_DL_INT, 64, 1};
    in.shape = in_shape;
    out.data = values.data();
    out.device.device_type = SEQMIX_DL_CPU;
    out.ndim = 3;
    out.dtype = {SEQMIX_DL_FLOAT, 32, 1};
    out.shape = out_shape;
    const seqmix_arg args[] = {{tokens.number, 0, 0, 0, &in}, {logits.number, 0, 0, 0, &out}};
    const seqmix_status status = seqmix_layer_forward(layer, state, args, 2, nullptr);
    if (out_logits != nullptr) {
        *out_logits = std::move(values);
    }
    return status;
}

State make_state(const seqmix_layer* layer) {
    seqmix_state* state = nullptr;
    EXPECT_EQ(seqmix_state_create(layer, nullptr, &state), SEQMIX_OK) << seqmix_last_error();
    return State(state);
}

// What a mutation did to some bytes.
struct Mutation {
    std::string bytes;
    std::string what;
};

Mutation truncate(const std::string& bytes, size_t limit, std::mt19937_64& random) {
    const size_t size = random() % limit;
    return {bytes.substr(0, size), "first " + std::to_string(size) + " bytes"};
}

// Half of the flips fall into the first `front` bytes: there sits what a reader looks at.
Mutation flip(const std::string& bytes, size_t front, std::mt19937_64& random) {
    const size_t range = random() % 2 == 0 ? front : bytes.size();
    const size_t place = random() % range;
    const unsigned bit = static_cast<unsigned>(random() % 8);
    Mutation result{bytes, "bit " + std::to_string(bit) + " of byte " + std::to_string(place)};
    result.bytes[place] =
        static_cast<char>(static_cast<unsigned char>(result.bytes[place]) ^ (1u << bit));
    return result;
}

constexpr int kCount = 2000;  // truncations, and flips, of each file
constexpr const char* kNoType = "no_such_type";

class LoaderMutations : public ::testing::Test {
  protected:
    // The small golden model; without it the one that comes with the library, thirty times as large.
    void SetUp() override {
        std::string folder = seqmix_test::shared_path("golden/mamba-hf-a-base");
        if (!seqmix_test::shared_exists("golden/mamba-hf-a-base")) {
            ASSERT_FALSE(seqmix_test::data_required()) << "missing " << folder;
            folder = seqmix_test::source_dir() + "/models/shakespeare";
        }
        if (!std::filesystem::exists(folder + "/model.safetensors")) {
            GTEST_SKIP() << "needs " << folder;
        }
        weights_ = read_bytes(folder + "/model.safetensors");
        config_ = read_bytes(folder + "/config.json");
        uint64_t length = 0;
        std::memcpy(&length, weights_.data(), sizeof length);
        header_ = static_cast<size_t>(length) + 8;
        context_ = make_context();
        restore();
    }
    void restore() const {
        folder_.write("model.safetensors", weights_);
        folder_.write("config.json", config_);
    }
    // The folder, or a file in it.
    Layer open(seqmix_status* status, const std::string& file = "") const {
        seqmix_layer* layer = nullptr;
        const std::string path = file.empty() ? folder_.path() : folder_.file(file);
        *status = seqmix_layer_open(context_.get(), path.c_str(), nullptr, &layer);
        return Layer(layer);
    }
    // The last error is not cleared by success, so an old one could pass for this call's.
    static void forget_error() {
        int32_t slot = 0;
        EXPECT_EQ(seqmix_type_slot(kNoType, "x", &slot), SEQMIX_ERR_UNKNOWN_TYPE);
    }
    static void expect_message(const std::string& what) {
        EXPECT_STRNE(seqmix_last_error(), "") << what;
        EXPECT_EQ(std::strstr(seqmix_last_error(), kNoType), nullptr) << what;
    }
    // Opens the folder as it is: true for a model that runs, false for a failure that says why.
    bool open_damaged(const std::string& what, const std::string& file = "") const {
        forget_error();
        seqmix_status status = SEQMIX_OK;
        const Layer layer = open(&status, file);
        EXPECT_EQ(layer != nullptr, status == SEQMIX_OK) << what;
        if (layer == nullptr) {
            EXPECT_LT(status, 0) << what;
            expect_message(what);
            return false;
        }
        const State state = make_state(layer.get());
        std::vector<float> logits;
        EXPECT_EQ(run(layer.get(), state.get(), &logits), SEQMIX_OK)
            << what << ": " << seqmix_last_error();
        if (!expected_.empty()) {
            EXPECT_EQ(std::memcmp(logits.data(), expected_.data(), sizeof(float) * logits.size()),
                      0)
                << what << ": accepted with other numbers";
        }
        return true;
    }
    // accepts(mutation) says whether the damaged bytes are taken. Returns how many flips are.
    template <class Accepts>
    static int count_accepted(const char* name, const std::string& bytes, size_t limit,
                              size_t front, Accepts&& accepts) {
        std::mt19937_64 random(20250101);
        int truncations = 0, flips = 0;
        for (int i = 0; i < kCount; ++i) {
            const Mutation mutation = truncate(bytes, limit, random);
            if (accepts(mutation)) {
                ++truncations;
                ADD_FAILURE() << name << ": " << mutation.what << " were accepted";
            }
        }
        for (int i = 0; i < kCount; ++i) {
            flips += accepts(flip(bytes, front, random)) ? 1 : 0;
        }
        std::printf(
            "%s of %zu bytes: %d truncations, %d refused with a message; "
            "%d bit flips, %d refused with a message, %d accepted\n",
            name, bytes.size(), kCount, kCount - truncations, kCount, kCount - flips, flips);
        return flips;
    }
    void damage_file(const char* name, const std::string& bytes, size_t limit, size_t front) {
        const int ran = count_accepted(name, bytes, limit, front, [&](const Mutation& mutation) {
            folder_.write(name, mutation.bytes);
            return open_damaged(mutation.what);
        });
        // Some flips must be found, or the test did not reach the reader.
        EXPECT_LT(ran, kCount - kCount / 10);
    }

    TempFolder folder_;
    Context context_;
    std::string weights_, config_;
    size_t header_ = 0;
    std::vector<float> expected_;  // logits that every accepted file must give; empty: any
};

TEST_F(LoaderMutations, UndamagedOpens) {
    EXPECT_TRUE(open_damaged("nothing")) << seqmix_last_error();
}

TEST_F(LoaderMutations, Safetensors) {
    damage_file("model.safetensors", weights_, weights_.size(), header_);
}

// As `convert` writes it: matrices in int8 with their factors, what is said of them in the metadata.
TEST_F(LoaderMutations, ConvertedSafetensors) {
    seqmix_context_options options{};
    options.struct_size = sizeof options;
    options.threads = 1;
    options.weights = "int8";
    seqmix_context* raw = nullptr;
    ASSERT_EQ(seqmix_context_create(&options, &raw), SEQMIX_OK) << seqmix_last_error();
    const Context context(raw);
    const std::string to = folder_.file("converted");
    ASSERT_EQ(seqmix_checkpoint_convert(context.get(), folder_.path().c_str(), nullptr, to.c_str()),
              SEQMIX_OK)
        << seqmix_last_error();
    const std::string bytes = read_bytes(to);
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    damage_file("model.safetensors", bytes, bytes.size(), static_cast<size_t>(length) + 8);
}

TEST_F(LoaderMutations, ConfigJson) {
    // What follows the last brace is white space and may be cut off.
    damage_file("config.json", config_, config_.rfind('}') + 1, config_.size());
}

// A torch zip: flips may fall into padding, dates or the names' second copies, never into numbers.
class TorchMutations : public LoaderMutations {
  protected:
    // What a reader looks at first, the pickle or the directory at the end, is hit by half the flips.
    void damage_torch_file(const std::string& bytes) {
        constexpr const char* kName = "pytorch_model.bin";
        folder_.write(kName, bytes);
        seqmix_status status = SEQMIX_OK;
        const Layer layer = open(&status, kName);
        ASSERT_EQ(status, SEQMIX_OK) << seqmix_last_error();
        const State state = make_state(layer.get());
        ASSERT_EQ(run(layer.get(), state.get(), &expected_), SEQMIX_OK) << seqmix_last_error();
        const auto accepts = [&](const Mutation& mutation) {
            folder_.write(kName, mutation.bytes);
            return open_damaged(mutation.what, kName);
        };
        const size_t pickle = bytes.find("data.pkl") + 4096;
        int ran = count_accepted("torch zip, front", bytes, bytes.size(), pickle, accepts);
        EXPECT_LT(ran, kCount / 4);
        // The same with the bytes counted from the end.
        const size_t directory = bytes.size() - bytes.find("PK\x01\x02");
        std::mt19937_64 random(7);
        ran = 0;
        for (int i = 0; i < kCount; ++i) {
            std::string reversed(bytes.rbegin(), bytes.rend());
            Mutation mutation = flip(reversed, directory, random);
            std::reverse(mutation.bytes.begin(), mutation.bytes.end());
            mutation.what += " from the end";
            ran += accepts(mutation) ? 1 : 0;
        }
        std::printf("torch zip, end: %d bit flips, %d refused with a message, %d accepted\n",
                    kCount, kCount - ran, ran);
        EXPECT_LT(ran, kCount * 3 / 4);
    }
};

TEST_F(TorchMutations, FileOfOthers) {
    SEQMIX_NEED_SHARED("golden/mamba-hf-e-original");
    const std::string folder = seqmix_test::shared_path("golden/mamba-hf-e-original");
    config_ = read_bytes(folder + "/config.json");
    restore();
    damage_torch_file(read_bytes(folder + "/pytorch_model.bin"));
}

// A pickle with every form that the reader knows: memo, transposed and tied tensors, metadata.
TEST_F(TorchMutations, FileByHand) {
    config_ = R"({"d_model": 4, "n_layer": 1, "vocab_size": 8})";
    restore();
    damage_torch_file(seqmix_test::small_torch_mamba());
}

// Only the header can be wrong: any floats are weights.
TEST_F(LoaderMutations, Llama2c) {
    const std::string bytes = seqmix_test::llama2c_bytes();
    const auto accepts = [&](const Mutation& mutation) {
        folder_.write("model.bin", mutation.bytes);
        return open_damaged(mutation.what, "model.bin");
    };
    std::filesystem::remove(folder_.file("config.json"));
    EXPECT_TRUE(accepts({bytes, "nothing"})) << seqmix_last_error();
    const std::string header = bytes.substr(0, 28);
    std::mt19937_64 random(11);
    int ran = 0;
    for (int i = 0; i < kCount; ++i) {
        const Mutation mutation = flip(header, header.size(), random);
        ran += accepts({mutation.bytes + bytes.substr(28), mutation.what}) ? 1 : 0;
        const Mutation shorter = truncate(bytes, bytes.size(), random);
        EXPECT_FALSE(accepts(shorter)) << shorter.what;
    }
    std::printf("llama2.c: %d bit flips of the header, %d accepted\n", kCount, ran);
    EXPECT_LT(ran, kCount / 8);  // other heads of as many columns, another sign of the vocabulary
}

// A flip in the numbers of a GGUF file is another model: the format has no checksum. One before them gives a
// message, or, where it falls into padding or a key that means nothing here, unchanged numbers; or it is in a
// key that is a number of the model and has other values too (the epsilon, the base of the angles).
class GgufMutations : public LoaderMutations {
  protected:
    void damage_gguf(const char* name, const seqmix_test::GgufFile& file) {
        const std::string bytes = file.bytes(), header = file.header();
        constexpr const char* kName = "model.gguf";
        folder_.write(kName, bytes);
        seqmix_status status = SEQMIX_OK;
        const Layer layer = open(&status, kName);
        ASSERT_EQ(status, SEQMIX_OK) << seqmix_last_error();
        std::vector<float> whole;
        ASSERT_EQ(run(layer.get(), make_state(layer.get()).get(), &whole), SEQMIX_OK)
            << seqmix_last_error();
        const auto accepts = [&](const Mutation& mutation) {
            folder_.write(kName, mutation.bytes);
            return open_damaged(mutation.what, kName);
        };
        // The end of the last tensor; padding behind it may be cut off.
        const size_t last = file.tensors.back().data.size();
        const size_t end = bytes.size() - (file.alignment - last % file.alignment) % file.alignment;
        const int ran = count_accepted(name, bytes, end, header.size(), accepts);
        EXPECT_LT(ran, kCount * 3 / 4);

        expected_ = whole;
        std::mt19937_64 random(13);
        int same = 0, refused = 0, numbers = 0;
        for (int i = 0; i < kCount; ++i) {
            Mutation mutation = flip(header, header.size(), random);
            mutation.bytes += bytes.substr(header.size());
            if (in_number_of_the_model(header, mutation.bytes)) {
                ++numbers;
                continue;
            }
            (accepts(mutation) ? same : refused) += 1;
        }
        expected_.clear();
        std::printf(
            "%s, before the numbers: %d bit flips, %d refused with a message, %d the same model, "
            "%d in numbers of the model\n",
            name, kCount, refused, same, numbers);
        EXPECT_GT(refused, kCount / 2);
        EXPECT_LT(numbers, kCount / 10);
    }

  private:
    // Type and value of the keys that may be another number in another model.
    static bool in_number_of_the_model(const std::string& good, const std::string& bad) {
        size_t place = 0;
        while (good[place] == bad[place]) ++place;
        for (const char* key : {"layer_norm_rms_epsilon", "rope.freq_base"}) {
            const size_t at = good.find(key);
            const size_t type = at + std::strlen(key);
            if (at != std::string::npos && place >= type && place < type + 8) return true;
        }
        return false;
    }
};

TEST_F(GgufMutations, Mamba) {
    seqmix_test::GgufFile file = seqmix_test::small_gguf_mamba(seqmix_test::GgufType::q8_0);
    file.key("general.name", "small").texts("tokenizer.ggml.tokens", {"a", "b", "c"});
    damage_gguf("GGUF mamba", file);
}

TEST_F(GgufMutations, Llama) {
    seqmix_test::GgufFile file = seqmix_test::small_gguf_llama();
    file.key("llama.rope.freq_base", 10000.0f).numbers("tokenizer.ggml.scores", 6, 4, {0, 0});
    damage_gguf("GGUF llama", file);
}

// A program in place of the state dict: nothing runs, and the message names what it wanted.
TEST_F(LoaderMutations, TorchProgramsAreRefused) {
    namespace pickle = seqmix_test::pickle;
    const std::string marker = folder_.file("executed");
    const std::string argument = pickle::text("touch " + marker);
    const std::string call = pickle::tuple({argument});
    const struct {
        std::string body;
        const char* part;
    } rows[] = {
        {pickle::reduce(pickle::global("os", "system"), call), "os.system"},
        {pickle::reduce(pickle::global("posix", "system"), call), "posix.system"},
        {pickle::reduce(pickle::global("builtins", "exec"), call), "builtins.exec"},
        {pickle::dict(
             {{"state_dict", pickle::reduce(pickle::global("subprocess", "getoutput"), call)}}),
         "subprocess.getoutput"},
        {"(" + argument + "ios\nsystem\n", "INST"},
        {"(" + pickle::global("os", "system") + argument + "o", "os.system"},
        {pickle::text("os") + pickle::text("system") + "\x93" + call + "R", "STACK_GLOBAL"},
        {pickle::global("collections", "OrderedDict") + call + "\x81", "NEWOBJ"},
        {pickle::ordered_dict() + pickle::dict({{"__setstate__", argument}}) + "b", "builds"},
        {pickle::global("torch", "nn.Module") + ")R", "torch.nn.Module"},
        {"P" + marker + "\n", "PERSID"},
        {pickle::tuple({pickle::text("module"), argument}) + "Q", "persistent id"},
        {pickle::reduce(pickle::global("torch._utils", "_rebuild_tensor_v2"), call), "rebuilds"},
        {pickle::reduce(pickle::global("torch._utils", "_rebuild_parameter"), call),
         "_rebuild_parameter"},
    };
    for (const auto& row : rows) {
        const std::string file =
            folder_.write("evil.pt", seqmix_test::torch_zip_bytes(pickle::program(row.body)));
        EXPECT_FALSE(open_damaged(row.part, "evil.pt"));
        EXPECT_NE(std::strstr(seqmix_last_error(), row.part), nullptr) << seqmix_last_error();
    }
    EXPECT_FALSE(std::filesystem::exists(marker));
}

TEST_F(LoaderMutations, SavedState) {
    seqmix_status status = SEQMIX_OK;
    const Layer layer = open(&status);
    ASSERT_EQ(status, SEQMIX_OK) << seqmix_last_error();
    const State state = make_state(layer.get());
    ASSERT_EQ(run(layer.get(), state.get()), SEQMIX_OK) << seqmix_last_error();
    size_t size = 0;
    ASSERT_EQ(seqmix_state_save(state.get(), nullptr, 0, &size), SEQMIX_ERR_BUFFER_TOO_SMALL);
    std::string blob(size, '\0');
    ASSERT_EQ(seqmix_state_save(state.get(), blob.data(), blob.size(), &size), SEQMIX_OK);
    const auto load = [&](const std::string& bytes) {
        // Of its own size, so that a sanitizer sees a read beyond it.
        const std::vector<char> copy(bytes.begin(), bytes.end());
        seqmix_state* loaded = nullptr;
        const seqmix_status result =
            seqmix_state_load(layer.get(), copy.data(), copy.size(), nullptr, &loaded);
        EXPECT_EQ(loaded != nullptr, result == SEQMIX_OK);
        const State owner(loaded);
        return result;
    };
    ASSERT_EQ(load(blob), SEQMIX_OK) << seqmix_last_error();
    const size_t front = std::min<size_t>(256, blob.size());
    const int accepted =
        count_accepted("saved state", blob, blob.size(), front, [&](const Mutation& mutation) {
            forget_error();
            const seqmix_status result = load(mutation.bytes);
            if (result != SEQMIX_OK) {
                EXPECT_LT(result, 0) << mutation.what;
                expect_message(mutation.what);
            }
            return result == SEQMIX_OK;
        });
    EXPECT_EQ(accepted, 0);
}

}  // namespace
