#include "tokenizer.h"

#include <bit>
#include <cmath>
#include <queue>

#include "byte_pair.h"
#include "bytes.h"
#include "common.h"
#include "files.h"
#include "gguf.h"

namespace seqmix_cli {

namespace {

// Bytes of the UTF-8 character that a text begins with; 1 where it is none.
size_t character_size(std::string_view text) {
    const Utf8Head head = utf8_head(text);
    return head.whole ? head.size : 1;
}

class Characters : public Tokenizer {
  public:
    Characters(const std::string& characters, int64_t vocab) {
        for (std::string_view rest(characters); !rest.empty();) {
            const size_t size = character_size(rest);
            const std::string one(rest.substr(0, size));
            ids_.emplace(one, static_cast<int64_t>(pieces_.size()));
            pieces_.push_back(one);
            rest.remove_prefix(size);
        }
        const auto count = static_cast<int64_t>(pieces_.size());
        if (count != vocab || static_cast<int64_t>(ids_.size()) != vocab) {
            throw Failure(kUsage, "--characters: " + std::to_string(ids_.size()) +
                                      " different characters, expected as many as the model's " +
                                      "vocabulary, " + std::to_string(vocab));
        }
    }
    std::vector<int64_t> encode(std::string_view text, bool) const override {
        std::vector<int64_t> ids;
        while (!text.empty()) {
            const size_t size = character_size(text);
            const auto found = ids_.find(std::string(text.substr(0, size)));
            if (found == ids_.end()) {
                throw Failure(kUsage, "the text has '" + std::string(text.substr(0, size)) +
                                          "', which is none of --characters");
            }
            ids.push_back(found->second);
            text.remove_prefix(size);
        }
        return ids;
    }
    std::string decode(int64_t id, int64_t) const override {
        return pieces_.at(static_cast<size_t>(id));
    }

  private:
    std::vector<std::string> pieces_;
    std::map<std::string, int64_t> ids_;
};

class Pieces : public Tokenizer {
  public:
    explicit Pieces(ScoredPieces given) : given_(std::move(given)) {
        byte_of_.assign(given_.pieces.size(), -1);
        for (int byte = 0; byte < 256; ++byte) {
            byte_of_.at(static_cast<size_t>(given_.bytes[byte])) = static_cast<int16_t>(byte);
        }
        for (size_t i = 0; i < given_.pieces.size(); ++i) {
            ids_.emplace(given_.pieces[i], static_cast<int64_t>(i));  // the first of equal ones
        }
    }

    std::vector<int64_t> encode(std::string_view text, bool begins) const override {
        std::vector<int64_t> ids;
        if (begins && given_.marks_begin) ids.push_back(given_.begin);
        if (text.empty()) return ids;
        std::vector<int64_t> parts;
        if (const auto space = ids_.find(" ");
            begins && given_.space_first && space != ids_.end()) {
            parts.push_back(space->second);
        }
        while (!text.empty()) {
            const size_t size = character_size(text);
            if (const auto found = ids_.find(text.substr(0, size)); found != ids_.end()) {
                parts.push_back(found->second);
            } else {
                for (const char c : text.substr(0, size)) {
                    parts.push_back(given_.bytes[static_cast<unsigned char>(c)]);
                }
            }
            text.remove_prefix(size);
        }
        merge(parts);
        ids.insert(ids.end(), parts.begin(), parts.end());
        return ids;
    }

    std::string decode(int64_t id, int64_t previous) const override {
        const auto at = static_cast<size_t>(id);
        if (id < 0 || at >= given_.pieces.size() || (!given_.silent.empty() && given_.silent[at])) {
            return "";
        }
        if (byte_of_[at] >= 0) return std::string(1, static_cast<char>(byte_of_[at]));
        const std::string& piece = given_.pieces[at];
        return previous == given_.begin && piece.starts_with(' ') ? piece.substr(1) : piece;
    }

    int64_t end() const override { return given_.end; }

  private:
    // Joins the neighbours whose joint piece scores highest, the leftmost of equals, until none do.
    void merge(std::vector<int64_t>& parts) const {
        struct Pair {
            float score;
            size_t left, right;
            int64_t left_id, right_id, id;  // as they were when it was found
            bool operator<(const Pair& other) const {
                return score != other.score ? score < other.score : left > other.left;
            }
        };
        constexpr int64_t kGone = -1;
        const size_t n = parts.size();
        std::vector<size_t> next(n), before(n);
        std::priority_queue<Pair> queue;
        const auto look = [&](size_t left, size_t right) {
            if (right >= n || left >= n) return;
            const auto found = ids_.find(given_.pieces[static_cast<size_t>(parts[left])] +
                                         given_.pieces[static_cast<size_t>(parts[right])]);
            if (found != ids_.end()) {
                queue.push({given_.scores[static_cast<size_t>(found->second)], left, right,
                            parts[left], parts[right], found->second});
            }
        };
        for (size_t i = 0; i < n; ++i) {
            next[i] = i + 1;
            before[i] = i == 0 ? n : i - 1;
        }
        for (size_t i = 0; i + 1 < n; ++i) look(i, i + 1);
        while (!queue.empty()) {
            const Pair pair = queue.top();
            queue.pop();
            if (parts[pair.left] != pair.left_id || parts[pair.right] != pair.right_id ||
                next[pair.left] != pair.right) {
                continue;  // one of the two was joined elsewhere
            }
            parts[pair.left] = pair.id;
            parts[pair.right] = kGone;
            next[pair.left] = next[pair.right];
            if (next[pair.left] < n) before[next[pair.left]] = pair.left;
            look(before[pair.left], pair.left);
            look(pair.left, next[pair.left]);
        }
        std::erase(parts, kGone);
    }

    ScoredPieces given_;
    std::vector<int16_t> byte_of_;  // by id; -1: no byte
    std::map<std::string, int64_t, std::less<>> ids_;
};

}  // namespace

std::unique_ptr<const Tokenizer> character_tokenizer(const std::string& characters, int64_t vocab) {
    return std::make_unique<Characters>(characters, vocab);
}

std::unique_ptr<const Tokenizer> piece_tokenizer(ScoredPieces pieces) {
    return std::make_unique<Pieces>(std::move(pieces));
}

std::unique_ptr<const Tokenizer> read_llama2c_tokenizer(const std::string& path, int64_t vocab) {
    constexpr int64_t kFirstByte = 3;
    const auto damaged = [&](const std::string& what) {
        throw Failure(kCannotRead, path + ": not a tokenizer of this model: " + what);
    };
    const std::string content = read_file(path);
    ScoredPieces made;
    size_t at = 4;
    const auto left = [&] { return content.size() - at; };
    while (content.size() > 4 && left() > 0) {
        if (left() < 8) damaged("it ends inside a piece");
        const auto score = std::bit_cast<float>(load_u32(content, at));
        const uint32_t length = load_u32(content, at + 4);
        at += 8;
        if (length > left()) damaged("it ends inside a piece");
        if (!std::isfinite(score)) damaged("a score is not finite");
        made.pieces.push_back(content.substr(at, length));
        made.scores.push_back(score);
        at += length;
    }
    if (static_cast<int64_t>(made.pieces.size()) != vocab) {
        damaged(std::to_string(made.pieces.size()) + " pieces, expected the model's " +
                std::to_string(vocab));
    }
    if (vocab < kFirstByte + 256) damaged("it has no pieces for bytes");
    for (int64_t byte = 0; byte < 256; ++byte) made.bytes[byte] = kFirstByte + byte;
    made.end = made.begin;
    return piece_tokenizer(std::move(made));
}

std::unique_ptr<const Tokenizer> read_tokenizer(const std::string& path, int64_t vocab) {
    const std::string content = read_file(path);
    if (content.starts_with("GGUF")) {
        std::string why;
        std::unique_ptr<const Tokenizer> tokenizer = read_gguf_tokenizer(path, vocab, &why);
        if (tokenizer == nullptr) throw Failure(kCannotRead, path + ": " + why);
        return tokenizer;
    }
    if (!content.starts_with('{')) {
        return read_llama2c_tokenizer(path, vocab);
    }
    auto tokenizer = std::make_unique<BytePair>(content, path);
    if (tokenizer->size() > vocab) {
        throw Failure(kCannotRead, path + ": has ids up to " +
                                       std::to_string(tokenizer->size() - 1) +
                                       ", and the model a vocabulary of " + std::to_string(vocab));
    }
    return tokenizer;
}

// ------------------------------------------------------------------ characters

constexpr const char* kReplacement = "\xef\xbf\xbd";

std::string CharacterStream::put(std::string_view bytes) {
    waiting_ += bytes;
    std::string out;
    std::string_view rest = waiting_;
    while (!rest.empty()) {
        const Utf8Head head = utf8_head(rest);
        if (head.unfinished) {
            break;
        }
        out += head.whole ? rest.substr(0, head.size) : std::string_view(kReplacement);
        rest.remove_prefix(head.size);
    }
    waiting_ = std::string(rest);
    return out;
}

std::string CharacterStream::end() {
    const bool unfinished = !waiting_.empty();
    waiting_.clear();
    return unfinished ? kReplacement : "";
}

}  // namespace seqmix_cli
