#include "gguf.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "byte_pair.h"
#include "bytes.h"
#include "common.h"
#include "files.h"

namespace seqmix_cli {

namespace {

constexpr const char* kPrefix = "tokenizer.ggml.";

// Llama 3's pattern; whole words come before merges with it, as llama.cpp and its tokenizer.json have it.
constexpr const char* kLlamaBpe = "llama-bpe";
// What llama.cpp calls the pattern of GPT-2 (LLAMA_VOCAB_PRE_TYPE_*). `mpt` and `olmo` are GPT-NeoX's
// vocabulary, Mamba's.
constexpr const char* kPatterns[] = {"gpt-2", "phi-2", "mpt", "olmo", kLlamaBpe};

enum TokenType : int { kUnknown = 2, kControl = 3, kUserDefined = 4, kByte = 6 };

// Of one key; a single value is an array of one.
struct Values {
    std::vector<std::string> texts;
    std::vector<double> numbers;
};

// ------------------------------------------------------------------ the file's front

class Front {
  public:
    explicit Front(const std::string& path) : file_(std::fopen(path.c_str(), "rb")) {
        if (!file_ || std::fseek(file_.get(), 0, SEEK_END) != 0) damaged();
        const long end = std::ftell(file_.get());
        if (end < 0) damaged();
        left_ = size_ = static_cast<uint64_t>(end);
        std::rewind(file_.get());
    }
    std::string bytes(uint64_t count) {
        if (count > left_) damaged();
        std::string result(static_cast<size_t>(count), '\0');
        if (std::fread(result.data(), 1, result.size(), file_.get()) != result.size()) damaged();
        left_ -= count;
        return result;
    }
    uint64_t number(size_t size) { return load_bytes(bytes(size), 0, size); }
    std::string text() { return bytes(number(8)); }
    uint64_t left() const { return left_; }
    uint64_t taken() const { return size_ - left_; }
    [[noreturn]] static void damaged() {
        throw Failure(kCannotRead, "its keys could not be read again");
    }

  private:
    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };
    std::unique_ptr<std::FILE, Close> file_;
    uint64_t left_ = 0, size_ = 0;
};

double number_of(uint32_t type, uint64_t bits) {
    switch (type) {
        case 1: return static_cast<int8_t>(bits);
        case 3: return static_cast<int16_t>(bits);
        case 5: return static_cast<int32_t>(bits);
        case 6: return std::bit_cast<float>(static_cast<uint32_t>(bits));
        case 11: return static_cast<double>(static_cast<int64_t>(bits));
        case 12: return std::bit_cast<double>(bits);
        default: return static_cast<double>(bits);
    }
}

Values read_values(Front& front, uint32_t type) {
    constexpr uint32_t kText = 8, kArray = 9;
    constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    uint64_t count = 1;
    if (type == kArray) {
        type = static_cast<uint32_t>(front.number(4));
        count = front.number(8);
    }
    if (type >= std::size(kSizes) || type == kArray || count > front.left()) Front::damaged();
    Values values;
    for (uint64_t i = 0; i < count; ++i) {
        if (type == kText) {
            values.texts.push_back(front.text());
        } else {
            values.numbers.push_back(number_of(type, front.number(kSizes[type])));
        }
    }
    return values;
}

// ------------------------------------------------------------------ the vocabulary

class Vocabulary {
  public:
    Vocabulary(const std::string& path, int64_t vocab) {
        Front front(path);
        constexpr uint64_t kMagicAndVersion = 8;
        front.bytes(kMagicAndVersion);
        front.number(8);  // of tensors
        for (uint64_t left = front.number(8); left > 0; --left) {
            const std::string name = front.text();
            Values values = read_values(front, static_cast<uint32_t>(front.number(4)));
            if (name.starts_with(kPrefix)) {
                keys_.emplace(name.substr(std::string_view(kPrefix).size()), std::move(values));
            }
        }
        const size_t count = tokens().size();
        if (count > static_cast<uint64_t>(vocab)) {
            refuse(std::to_string(count) + " tokens, more than the model's " +
                   std::to_string(vocab));
        }
        if (!types().empty() && types().size() != count) {
            refuse("as many 'tokenizer.ggml.token_type' as tokens were expected");
        }
        if (flag("add_eos_token", false)) refuse("'tokenizer.ggml.add_eos_token' is not supported");
    }
    [[noreturn]] static void refuse(const std::string& what) { throw Failure(kCannotRead, what); }

    std::string text(const char* name) const {
        const Values& values = get(name);
        return values.texts.empty() ? "" : values.texts.front();
    }
    bool flag(const char* name, bool otherwise) const {
        const Values& values = get(name);
        return values.numbers.empty() ? otherwise : values.numbers.front() != 0;
    }
    // -1: none.
    int64_t id(const char* name, int64_t otherwise = -1) const {
        const Values& values = get(name);
        const double id =
            values.numbers.empty() ? static_cast<double>(otherwise) : values.numbers.front();
        return id >= 0 && id < static_cast<double>(tokens().size()) ? static_cast<int64_t>(id) : -1;
    }
    const std::vector<std::string>& tokens() const { return get("tokens").texts; }
    const std::vector<std::string>& merges() const { return get("merges").texts; }
    const std::vector<double>& scores() const { return get("scores").numbers; }
    const std::vector<double>& types() const { return get("token_type").numbers; }
    int type(size_t token) const { return types().empty() ? 1 : static_cast<int>(types()[token]); }

  private:
    const Values& get(const char* name) const {
        static const Values none;
        const auto found = keys_.find(name);
        return found == keys_.end() ? none : found->second;
    }
    std::map<std::string, Values, std::less<>> keys_;
};

// The same vocabulary as a tokenizer.json.
std::unique_ptr<const Tokenizer> byte_pair(const Vocabulary& vocabulary) {
    using Value = nlohmann::json;  // by key, not by order: quick with many
    const std::string pattern = vocabulary.text("pre");
    if (std::find(std::begin(kPatterns), std::end(kPatterns), pattern) == std::end(kPatterns)) {
        std::string known;
        for (const char* name : kPatterns) known += (known.empty() ? "" : ", ") + std::string(name);
        Vocabulary::refuse("'tokenizer.ggml.pre' is '" + printable(pattern) +
                           "', expected one of " + known);
    }
    const bool llama3 = pattern == kLlamaBpe;
    // llama.cpp puts the mark where the key is absent, too, for this pattern.
    const bool marks = vocabulary.flag("add_bos_token", llama3);
    if (marks && !llama3) {
        Vocabulary::refuse("'tokenizer.ggml.add_bos_token' is not supported with '" + pattern +
                           "'");
    }
    const int64_t end = vocabulary.id("eos_token_id");
    Value vocab = Value::object(), added = Value::array();
    for (size_t i = 0; i < vocabulary.tokens().size(); ++i) {
        const std::string& token = vocabulary.tokens()[i];
        const int type = vocabulary.type(i);
        if (type == kControl || type == kUserDefined) {
            added.push_back({{"id", i}, {"content", token}, {"special", type == kControl}});
        } else {
            vocab.emplace(token, i);
        }
    }
    Value steps = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
    if (llama3) {
        steps["use_regex"] = false;
        const Value split = {{"type", "Split"},
                             {"pattern", {{"Regex", BytePair::llama3_pattern()}}},
                             {"behavior", "Isolated"}};
        steps = {{"type", "Sequence"}, {"pretokenizers", Value::array({split, steps})}};
    }
    const Value file = {{"model",
                         {{"type", "BPE"},
                          {"ignore_merges", llama3},
                          {"vocab", vocab},
                          {"merges", vocabulary.merges()}}},
                        {"pre_tokenizer", steps},
                        {"added_tokens", added}};
    std::string text;
    try {
        text = file.dump();
    } catch (const Value::exception&) {
        Vocabulary::refuse("a token is not UTF-8");
    }
    auto tokenizer = std::make_unique<BytePair>(text, "its vocabulary");
    tokenizer->set_end(end);
    tokenizer->set_begin(marks ? vocabulary.id("bos_token_id") : -1);
    return tokenizer;
}

// A piece's bytes: U+2581 stands for a space.
std::string with_spaces(std::string_view piece) {
    constexpr std::string_view kSpace = "\xe2\x96\x81";
    std::string text;
    while (!piece.empty()) {
        const bool space = piece.starts_with(kSpace);
        text += space ? ' ' : piece.front();
        piece.remove_prefix(space ? kSpace.size() : 1);
    }
    return text;
}

std::unique_ptr<const Tokenizer> pieces(const Vocabulary& vocabulary) {
    const std::vector<std::string>& tokens = vocabulary.tokens();
    if (vocabulary.scores().size() != tokens.size()) {
        Vocabulary::refuse("as many 'tokenizer.ggml.scores' as tokens were expected");
    }
    ScoredPieces made;
    for (size_t i = 0; i < tokens.size(); ++i) {
        const int type = vocabulary.type(i);
        if (type == kUserDefined) {
            Vocabulary::refuse("token '" + printable(tokens[i]) +
                               "' is user-defined, which is not supported with llama");
        }
        if (!std::isfinite(vocabulary.scores()[i])) Vocabulary::refuse("a score is not finite");
        const std::string piece = with_spaces(tokens[i]);
        const bool byte = type == kByte && piece.size() == 6 && piece.starts_with("<0x");
        if (byte) {
            const std::string digits = piece.substr(3, 2);
            char* end = nullptr;
            const auto value = static_cast<size_t>(std::strtoul(digits.c_str(), &end, 16));
            if (*end == '\0') made.bytes[value] = static_cast<int64_t>(i);
        }
        made.pieces.push_back(piece);
        made.scores.push_back(static_cast<float>(vocabulary.scores()[i]));
        made.silent.push_back(type == kControl || type == kUnknown);
    }
    made.begin = vocabulary.id("bos_token_id", 1);
    made.end = vocabulary.id("eos_token_id", 2);
    made.marks_begin = vocabulary.flag("add_bos_token", true) && made.begin >= 0;
    made.space_first = vocabulary.flag("add_space_prefix", true);
    if (std::find(std::begin(made.bytes), std::end(made.bytes), -1) != std::end(made.bytes)) {
        Vocabulary::refuse("it has no pieces for bytes");
    }
    return piece_tokenizer(std::move(made));
}

bool is_gguf(const std::string& path) {
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored)) return false;
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                               std::fclose);
    char magic[4] = {};
    return file && std::fread(magic, 1, 4, file.get()) == 4 && std::string_view(magic, 4) == "GGUF";
}

}  // namespace

std::string gguf_file(const std::string& checkpoint) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    if (!fs::is_directory(checkpoint, ignored)) return is_gguf(checkpoint) ? checkpoint : "";
    const std::string own = (fs::path(checkpoint) / kGgufVocabulary).string();
    if (is_gguf(own)) return own;
    std::string only;
    for (const fs::directory_entry& entry : fs::directory_iterator(checkpoint, ignored)) {
        if (entry.path().extension() != ".gguf") continue;
        if (!only.empty()) return "";
        only = entry.path().string();
    }
    return is_gguf(only) ? only : "";
}

bool write_gguf_vocabulary(const std::string& path, const std::string& to) {
    // "GGUF", version, the number of tensors, and then what is kept.
    constexpr size_t kTensors = 8, kTensorsEnd = 16;
    bool found = false;
    size_t end = 0;
    try {
        Front front(path);
        front.bytes(kTensorsEnd);
        for (uint64_t left = front.number(8); left > 0; --left) {
            found = front.text() == std::string(kPrefix) + "model" || found;
            read_values(front, static_cast<uint32_t>(front.number(4)));
        }
        end = front.taken();
    } catch (const Failure&) {
        return false;  // the library has refused what is damaged
    }
    if (!found) return false;
    std::string keys = Front(path).bytes(end);
    std::fill_n(keys.begin() + kTensors, kTensorsEnd - kTensors, '\0');
    OutputFile file(to);
    file.write(keys.data(), keys.size());
    file.commit();
    return true;
}

std::unique_ptr<const Tokenizer> read_gguf_tokenizer(const std::string& path, int64_t vocab,
                                                     std::string* why) {
    try {
        const Vocabulary vocabulary(path, vocab);
        const std::string model = vocabulary.text("model");
        if (model == "gpt2") return byte_pair(vocabulary);
        if (model == "llama") return pieces(vocabulary);
        *why = model.empty()
                   ? "the file has no vocabulary"
                   : "'tokenizer.ggml.model' is '" + printable(model) + "', expected gpt2 or llama";
    } catch (const Failure& failure) {
        *why = std::string("the file's vocabulary: ") + failure.what();
    }
    return nullptr;
}

}  // namespace seqmix_cli
