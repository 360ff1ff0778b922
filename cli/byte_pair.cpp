#include "byte_pair.h"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <queue>

#ifdef SEQMIX_CLI_UTF8PROC
#include <utf8proc.h>
#endif

#include "common.h"

namespace seqmix_cli {

namespace {

// Json keeps the order of keys, at a cost that grows with their square; a vocabulary has 50,000.
using Value = nlohmann::json;

constexpr int64_t kMostIds = 1 << 24;

// ------------------------------------------------------------------ Unicode

struct Character {
    int32_t code;
    uint8_t size;  // bytes
};

#ifdef SEQMIX_CLI_UTF8PROC

enum class Kind : uint8_t { space, letter, number, other };

Kind kind_of(int32_t code) {
    if ((code >= 9 && code <= 13) || code == 0x20 || code == 0x85 || code == 0xa0 ||
        code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 ||
        code == 0x202f || code == 0x205f || code == 0x3000) {
        return Kind::space;
    }
    switch (utf8proc_category(code)) {
        case UTF8PROC_CATEGORY_LU:
        case UTF8PROC_CATEGORY_LL:
        case UTF8PROC_CATEGORY_LT:
        case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_LO: return Kind::letter;
        case UTF8PROC_CATEGORY_ND:
        case UTF8PROC_CATEGORY_NL:
        case UTF8PROC_CATEGORY_NO: return Kind::number;
        default: return Kind::other;
    }
}

std::vector<Character> characters_of(std::string_view text) {
    std::vector<Character> characters;
    const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
    for (size_t i = 0; i < text.size();) {
        utf8proc_int32_t code = 0;
        const utf8proc_ssize_t size =
            utf8proc_iterate(at + i, static_cast<utf8proc_ssize_t>(text.size() - i), &code);
        if (size <= 0) {
            throw Failure(kUsage, "the text is not UTF-8 at byte " + std::to_string(i));
        }
        characters.push_back({code, static_cast<uint8_t>(size)});
        i += static_cast<size_t>(size);
    }
    return characters;
}

std::string compose(std::string_view text) {
    utf8proc_uint8_t* made = nullptr;
    const utf8proc_ssize_t size =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                     static_cast<utf8proc_ssize_t>(text.size()), &made,
                     static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(made, &std::free);
    if (size < 0) {
        throw Failure(kFailed, std::string("normalising a text: ") + utf8proc_errmsg(size));
    }
    return std::string(reinterpret_cast<const char*>(made), static_cast<size_t>(size));
}

#else

// A constructor without the library has refused already.
enum class Kind : uint8_t { space, letter, number, other };
Kind kind_of(int32_t) { return Kind::other; }
std::vector<Character> characters_of(std::string_view) { return {}; }
std::string compose(std::string_view text) { return std::string(text); }

#endif

// The character that stands for a byte in a vocabulary: itself where it is printable, the others from
// U+0100 on, in order.
std::vector<int32_t> byte_characters() {
    std::vector<int32_t> characters(256);
    int32_t next = 0x100;
    for (int32_t byte = 0; byte < 256; ++byte) {
        const bool itself =
            (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
        characters[static_cast<size_t>(byte)] = itself ? byte : next++;
    }
    return characters;
}

// The bytes that a token of the vocabulary stands for; itself where one of its characters stands for
// none (an added token).
std::string bytes_of_token(const std::string& token) {
    static const std::unordered_map<int32_t, char> bytes = [] {
        std::unordered_map<int32_t, char> made;
        const std::vector<int32_t> characters = byte_characters();
        for (size_t byte = 0; byte < characters.size(); ++byte) {
            made.emplace(characters[byte], static_cast<char>(byte));
        }
        return made;
    }();
    std::string result;
    for (size_t i = 0; i < token.size();) {
        // All of them have one or two bytes of UTF-8.
        const auto lead = static_cast<unsigned char>(token[i]);
        int32_t code = lead;
        size_t size = 1;
        if (lead >= 0xc2 && lead <= 0xdf && i + 1 < token.size()) {
            code = (lead & 0x1f) << 6 | (static_cast<unsigned char>(token[i + 1]) & 0x3f);
            size = 2;
        }
        const auto found = bytes.find(code);
        if (lead >= 0xe0 || found == bytes.end()) {
            return token;
        }
        result += found->second;
        i += size;
    }
    return result;
}

// What follows an apostrophe in the patterns below: the characters of 's|'t|'re|'ve|'m|'ll|'d, or 0.
size_t contraction_length(int32_t first, int32_t second) {
    if (first == 's' || first == 't' || first == 'm' || first == 'd') {
        return 2;
    }
    const bool two = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
                     (first == 'l' && second == 'l');
    return two ? 3 : 0;
}

// GPT-2's pattern: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// The number of characters that match at `at`; at least 1.
size_t match_length(const std::vector<Character>& text, size_t at) {
    const auto code = [&](size_t i) { return i < text.size() ? text[i].code : -1; };
    if (code(at) == '\'') {
        if (const size_t length = contraction_length(code(at + 1), code(at + 2))) return length;
    }
    size_t end = code(at) == ' ' && at + 1 < text.size() ? at + 1 : at;
    if (const Kind kind = kind_of(code(end)); kind != Kind::space) {
        while (end < text.size() && kind_of(code(end)) == kind) {
            ++end;
        }
        return end - at;
    }
    for (end = at; end < text.size() && kind_of(code(end)) == Kind::space;) {
        ++end;
    }
    // The last space before a word belongs to the word.
    return end == text.size() || end - at == 1 ? end - at : end - at - 1;
}

// Llama 3's, as its tokenizer.json writes it.
constexpr const char* kLlama3Pattern =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+"
    "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

// The number of characters that it matches at `at`; at least 1.
size_t llama3_match_length(const std::vector<Character>& text, size_t at) {
    const auto code = [&](size_t i) { return i < text.size() ? text[i].code : -1; };
    const auto kind = [&](size_t i) {
        return i < text.size() ? kind_of(text[i].code) : Kind::space;
    };
    const auto line_end = [&](size_t i) { return code(i) == '\r' || code(i) == '\n'; };
    if (code(at) == '\'') {
        // Without regard to case; U+017F is an s then, and nothing else is one of these letters.
        const auto letter = [&](size_t i) {
            const int32_t c = code(i);
            return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c == 0x17f ? 's' : c;
        };
        if (const size_t length = contraction_length(letter(at + 1), letter(at + 2))) return length;
    }
    const auto run_of = [&](size_t begin, Kind of, size_t most) {
        size_t end = begin;
        while (end < text.size() && end - begin < most && kind(end) == of) ++end;
        return end;
    };
    // A word, with one character before it that is none of its own kind.
    const bool before = kind(at) != Kind::letter && kind(at) != Kind::number && !line_end(at);
    const size_t word = before ? at + 1 : at;
    if (const size_t end = run_of(word, Kind::letter, SIZE_MAX); end > word) return end - at;
    if (const size_t end = run_of(at, Kind::number, 3); end > at) return end - at;
    const size_t marks = code(at) == ' ' ? at + 1 : at;
    if (size_t end = run_of(marks, Kind::other, SIZE_MAX); end > marks) {
        while (line_end(end)) ++end;
        return end - at;
    }
    const size_t spaces = run_of(at, Kind::space, SIZE_MAX);
    for (size_t end = spaces; end > at; --end) {
        if (line_end(end - 1)) return end - at;  // up to the last end of a line
    }
    return spaces == text.size() || spaces - at == 1 ? spaces - at : spaces - at - 1;
}

// ------------------------------------------------------------------ the file

std::string type_of(const Value& object) {
    return object.is_object() && object.contains("type") && object["type"].is_string()
               ? object["type"].get<std::string>()
               : std::string(object.is_null() ? "none" : "of an unknown kind");
}

// A split by Llama 3's pattern, and ByteLevel without one of its own.
bool is_llama3(const Value& step) {
    if (type_of(step) != "Sequence" || !step.contains("pretokenizers") ||
        !step["pretokenizers"].is_array() || step["pretokenizers"].size() != 2) {
        return false;
    }
    const Value &split = step["pretokenizers"][0], &level = step["pretokenizers"][1];
    return type_of(split) == "Split" && split.contains("pattern") && split["pattern"].is_object() &&
           split["pattern"].value("Regex", Value()) == kLlama3Pattern &&
           split.value("behavior", Value()) == "Isolated" &&
           split.value("invert", Value(false)) == false && type_of(level) == "ByteLevel" &&
           level.value("use_regex", Value(true)) == false;
}

bool flag(const Value& object, const char* name) {
    return object.contains(name) && object[name].is_boolean() && object[name].get<bool>();
}

uint64_t pair_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

struct BytePair::File {
    Value value;
    std::string path;

    const Value& model() const { return value["model"]; }
    Value part(const char* name) const { return value.contains(name) ? value[name] : Value(); }
    [[noreturn]] void refuse(const std::string& what) const {
        throw Failure(kCannotRead, path + ": " + what);
    }
    int32_t id_of(const Value& id, const std::string& token) const {
        if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= kMostIds) {
            refuse("the id of token '" + printable(token) + "' is " + id.dump() +
                   ", expected 0 to " + std::to_string(kMostIds - 1));
        }
        return id.get<int32_t>();
    }
};

BytePair::BytePair(const std::string& content, const std::string& path) {
    const File file{Value::parse(content, nullptr, false), path};
#ifndef SEQMIX_CLI_UTF8PROC
    file.refuse("this program was built without utf8proc, which tokenizers need");
#endif
    if (!file.value.is_object() || !file.value.contains("model")) {
        file.refuse("expected a JSON object with 'model' (tokenizer.json)");
    }
    read_steps(file);
    read_merges(file, read_vocabulary(file));
    read_added_tokens(file);
}

const char* BytePair::llama3_pattern() { return kLlama3Pattern; }

void BytePair::set_bytes(int32_t id, const std::string& bytes) {
    if (bytes_.size() <= static_cast<size_t>(id)) {
        bytes_.resize(static_cast<size_t>(id) + 1);
    }
    bytes_[static_cast<size_t>(id)] = bytes;
}

// What is done with a text before and after the merges.
void BytePair::read_steps(const File& file) {
    if (type_of(file.model()) != "BPE") {
        file.refuse("the model is " + type_of(file.model()) + ", expected BPE");
    }
    for (const char* name : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
        if (file.model().contains(name) && !file.model()[name].is_null() &&
            file.model()[name] != "" && file.model()[name] != 0) {
            file.refuse(std::string("the model's '") + name + "' is not supported");
        }
    }
    whole_words_ = flag(file.model(), "ignore_merges");
    if (const Value normalizer = file.part("normalizer"); !normalizer.is_null()) {
        if (type_of(normalizer) != "NFC") {
            file.refuse("the normalizer is " + type_of(normalizer) + ", expected NFC or none");
        }
        nfc_ = true;
    }
    Value before = file.part("pre_tokenizer");
    if (is_llama3(before)) {
        llama3_ = true;
        before = before["pretokenizers"][1];
    } else if (type_of(before) != "ByteLevel" ||
               (before.contains("use_regex") && before["use_regex"] != true)) {
        file.refuse(
            "the pre_tokenizer is " + type_of(before) +
            ", expected ByteLevel with GPT-2's pattern, or Llama 3's pattern and ByteLevel");
    }
    prefix_space_ = flag(before, "add_prefix_space");
    for (const char* name : {"post_processor", "decoder"}) {
        const Value step = file.part(name);
        if (step.is_null() || type_of(step) == "ByteLevel") continue;
        if (std::string_view(name) == "post_processor" && read_begin(step)) continue;
        file.refuse(std::string("the ") + name + " is " + type_of(step) + ", expected ByteLevel" +
                    (llama3_ ? ", or with it a template of one token before the text" : ""));
    }
}

// Llama 3's: ByteLevel, then a template that puts <|begin_of_text|> before a text.
bool BytePair::read_begin(const nlohmann::json& step) {
    if (type_of(step) != "Sequence" || !step.contains("processors") ||
        !step["processors"].is_array() || step["processors"].size() != 2 ||
        type_of(step["processors"][0]) != "ByteLevel") {
        return false;
    }
    const Value& marks = step["processors"][1];
    if (type_of(marks) != "TemplateProcessing" || !marks.contains("single") ||
        !marks.contains("special_tokens")) {
        return false;
    }
    const Value& single = marks["single"];
    if (!single.is_array() || single.size() != 2 || !single[0].contains("SpecialToken") ||
        !single[1].contains("Sequence")) {
        return false;
    }
    const Value& token = single[0]["SpecialToken"];
    if (!token.contains("id") || !token["id"].is_string()) return false;
    const auto name = token["id"].get<std::string>();
    if (!marks["special_tokens"].contains(name)) return false;
    const Value& ids = marks["special_tokens"][name];
    if (!ids.contains("ids") || !ids["ids"].is_array() || ids["ids"].size() != 1 ||
        !ids["ids"][0].is_number_integer()) {
        return false;
    }
    begin_ = ids["ids"][0].get<int64_t>();
    return begin_ >= 0 && begin_ < kMostIds;
}

std::unordered_map<std::string, int32_t> BytePair::read_vocabulary(const File& file) {
    if (!file.model().contains("vocab") || !file.model()["vocab"].is_object() ||
        !file.model().contains("merges") || !file.model()["merges"].is_array()) {
        file.refuse("the model has no 'vocab' object or no 'merges' array");
    }
    std::unordered_map<std::string, int32_t> ids;
    for (const auto& [token, value] : file.model()["vocab"].items()) {
        const int32_t id = file.id_of(value, token);
        ids.emplace(token, id);
        set_bytes(id, bytes_of_token(token));
        if (whole_words_) {
            words_.emplace(bytes_of_token(token), id);
        }
    }
    const std::vector<int32_t> characters = byte_characters();
    for (size_t byte = 0; byte < 256; ++byte) {
        const auto code = static_cast<uint32_t>(characters[byte]);
        const std::string token = code < 0x80
                                      ? std::string(1, static_cast<char>(code))
                                      : std::string{static_cast<char>(0xc0 | code >> 6),
                                                    static_cast<char>(0x80 | (code & 0x3f))};
        const auto found = ids.find(token);
        const bool never = byte == 0xc0 || byte == 0xc1 || byte >= 0xf5;  // in UTF-8
        if (found == ids.end() && !never) {
            file.refuse("the vocabulary has no token for byte " + std::to_string(byte));
        }
        byte_ids_[byte] = found == ids.end() ? -1 : found->second;
    }
    return ids;
}

void BytePair::read_merges(const File& file, const std::unordered_map<std::string, int32_t>& ids) {
    int32_t rank = 0;
    for (const Value& merge : file.model()["merges"]) {
        std::string left, right;
        if (merge.is_string()) {  // "a b"; newer files: ["a","b"]
            const auto text = merge.get<std::string>();
            const size_t space = text.find(' ');
            left = text.substr(0, space);
            right = space == std::string::npos ? "" : text.substr(space + 1);
        } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                   merge[1].is_string()) {
            left = merge[0].get<std::string>();
            right = merge[1].get<std::string>();
        }
        const auto a = ids.find(left), b = ids.find(right), both = ids.find(left + right);
        if (a == ids.end() || b == ids.end() || both == ids.end()) {
            file.refuse("merge " + std::to_string(rank) + ", " + printable(merge.dump()) +
                        ", is not of tokens of the vocabulary");
        }
        merges_.try_emplace(pair_of(a->second, b->second), Merge{rank, both->second});
        ++rank;
    }
}

void BytePair::read_added_tokens(const File& file) {
    for (const Value& token : file.part("added_tokens")) {
        if (!token.is_object() || !token.contains("content") || !token["content"].is_string() ||
            !token.contains("id") || token["content"].get_ref<const std::string&>().empty()) {
            file.refuse("an added token has no 'content' or no 'id'");
        }
        std::string text = token["content"].get<std::string>();
        const int32_t id = file.id_of(token["id"], text);
        for (const char* name : {"single_word", "lstrip", "rstrip"}) {
            if (flag(token, name)) {
                file.refuse("added token '" + printable(text) + "' has '" + name +
                            "', which is not supported");
            }
        }
        set_bytes(id, bytes_of_token(text));
        if (flag(token, "special") && (text == "<|endoftext|>" || text == "<|end_of_text|>")) {
            end_ = id;
        }
        const bool normalized = flag(token, "normalized");
        if (normalized && nfc_) {
            text = compose(text);
        }
        std::vector<Added>& same =
            (normalized ? normalized_added_ : raw_added_)[static_cast<unsigned char>(text[0])];
        const auto longer = [&](const Added& other) { return other.content.size() >= text.size(); };
        same.insert(std::find_if_not(same.begin(), same.end(), longer), {text, id});
    }
}

// ------------------------------------------------------------------ encoding

template <class Between>
void BytePair::split_added(const AddedSet& set, std::string_view text, std::vector<int64_t>& ids,
                           const Between& between) const {
    size_t begin = 0;
    for (size_t i = 0; i < text.size();) {
        const Added* found = nullptr;
        for (const Added& added : set[static_cast<unsigned char>(text[i])]) {
            if (text.substr(i).starts_with(added.content)) {
                found = &added;
                break;
            }
        }
        if (found == nullptr) {
            ++i;
            continue;
        }
        between(text.substr(begin, i - begin));
        ids.push_back(found->id);
        begin = i += found->content.size();
    }
    between(text.substr(begin));
}

std::vector<int64_t> BytePair::encode(std::string_view text, bool begins) const {
    std::vector<int64_t> ids;
    if (begins && begin_ >= 0) {
        ids.push_back(begin_);
    }
    characters_of(text);  // throws where it is not UTF-8
    split_added(raw_added_, text, ids, [&](std::string_view part) {
        const std::string composed = nfc_ ? compose(part) : std::string(part);
        split_added(normalized_added_, composed, ids,
                    [&](std::string_view rest) { encode_normalized(rest, ids); });
    });
    return ids;
}

void BytePair::encode_normalized(std::string_view text, std::vector<int64_t>& ids) const {
    if (text.empty()) {
        return;
    }
    std::string with_space;
    if (prefix_space_ &&
        kind_of(characters_of(text.substr(0, 4 < text.size() ? 4 : text.size())).front().code) !=
            Kind::space) {
        with_space = " " + std::string(text);
        text = with_space;
    }
    const std::vector<Character> characters = characters_of(text);
    for (size_t i = 0, byte = 0; i < characters.size();) {
        const size_t length =
            llama3_ ? llama3_match_length(characters, i) : match_length(characters, i);
        size_t size = 0;
        for (size_t end = i + length; i < end; ++i) {
            size += characters[i].size;
        }
        encode_piece(text.substr(byte, size), ids);
        byte += size;
    }
}

void BytePair::encode_piece(std::string_view piece, std::vector<int64_t>& ids) const {
    if (whole_words_) {
        if (const auto found = words_.find(std::string(piece)); found != words_.end()) {
            ids.push_back(found->second);
            return;
        }
    }
    // A list of symbols, and the merges that are due in a heap: n log n for the longest word.
    struct Symbol {
        int32_t id;
        int64_t previous, next;  // -1: none
    };
    struct Due {
        int32_t rank, id;
        int64_t at;
        uint64_t pair;  // what was there; another by now, and the merge is off
        bool operator>(const Due& other) const {
            return rank != other.rank ? rank > other.rank : at > other.at;
        }
    };
    const auto count = static_cast<int64_t>(piece.size());
    std::vector<Symbol> symbols;
    for (int64_t i = 0; i < count; ++i) {
        symbols.push_back({byte_ids_[static_cast<unsigned char>(piece[static_cast<size_t>(i)])],
                           i - 1, i + 1 < count ? i + 1 : -1});
    }
    std::priority_queue<Due, std::vector<Due>, std::greater<>> due;
    const auto symbol = [&](int64_t i) -> Symbol& { return symbols[static_cast<size_t>(i)]; };
    const auto look_at = [&](int64_t i) {
        if (i < 0 || symbol(i).next < 0) {
            return;
        }
        const uint64_t pair = pair_of(symbol(i).id, symbol(symbol(i).next).id);
        if (const auto found = merges_.find(pair); found != merges_.end()) {
            due.push({found->second.rank, found->second.id, i, pair});
        }
    };
    for (int64_t i = 0; i + 1 < count; ++i) {
        look_at(i);
    }
    while (!due.empty()) {
        const Due merge = due.top();
        due.pop();
        Symbol& left = symbol(merge.at);
        if (left.id < 0 || left.next < 0 || pair_of(left.id, symbol(left.next).id) != merge.pair) {
            continue;
        }
        Symbol& right = symbol(left.next);
        left.id = merge.id;
        left.next = right.next;
        right.id = -1;
        if (left.next >= 0) {
            symbol(left.next).previous = merge.at;
        }
        look_at(left.previous);
        look_at(merge.at);
    }
    for (int64_t i = 0; i >= 0 && i < count; i = symbol(i).next) {
        ids.push_back(symbol(i).id);
    }
}

// ------------------------------------------------------------------ decoding

std::string BytePair::decode(int64_t id, int64_t) const {
    return id >= 0 && id < size() ? bytes_[static_cast<size_t>(id)] : std::string();
}

}  // namespace seqmix_cli
