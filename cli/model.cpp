#include "model.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "files.h"
#include "gguf.h"
#include "signal.h"

namespace seqmix_cli {

namespace {

void log_line(void*, int32_t level, const char* message) {
    constexpr const char* kLevels[] = {"error", "warning", "info"};
    std::fprintf(stderr, "seqmix: %s: %s\n", level >= 0 && level < 3 ? kLevels[level] : "note",
                 message);
}

int32_t type_slot(const char* type, const char* name) {
    int32_t slot = 0;
    check(seqmix_type_slot(type, name, &slot));
    return slot;
}

// HyenaDNA's ids: seven special ones, then the bases; what is no base is the unknown one.
constexpr std::string_view kBases = "ACGTN";
constexpr int64_t kFirstBase = 7, kUnknownBase = 6;

int64_t base_id(char base) {
    const char upper = base >= 'a' && base <= 'z' ? static_cast<char>(base - 'a' + 'A') : base;
    const size_t at = kBases.find(upper);
    return at == std::string_view::npos ? kUnknownBase : kFirstBase + static_cast<int64_t>(at);
}

}  // namespace

Context make_context(const ContextOptions& options) {
    seqmix_context_options wanted{};
    wanted.struct_size = sizeof wanted;
    wanted.version = SEQMIX_VERSION;
    wanted.threads = options.threads;
    wanted.isa = options.isa.empty() ? nullptr : options.isa.c_str();
    wanted.weights = options.weights.empty() ? nullptr : options.weights.c_str();
    if (options.verbose) {
        wanted.log = log_line;
    }
    seqmix_context* raw = nullptr;
    const seqmix_status status = seqmix_context_create(&wanted, &raw);
    // A word that is no level is a typing error; a level that this CPU lacks is not.
    check(status, status == SEQMIX_ERR_INVALID_ARGUMENT ? kUsage : kFailed);
    return Context(raw);
}

Json context_info(const seqmix_context* context) {
    size_t needed = 0;
    seqmix_context_info(context, nullptr, 0, &needed);
    std::string text(needed, '\0');
    check(seqmix_context_info(context, text.data(), text.size(), &needed));
    return Json::parse(text.c_str());  // without the terminator, if one is counted
}

Config open_config(const OpenOptions& open) {
    Config config = make<Config>([](auto** c) { return seqmix_config_create(c); });
    check(seqmix_config_set_json(config.get(),
                                 settings_json(open.settings, Json::object()).dump().c_str()),
          kUsage);
    return config;
}

// ------------------------------------------------------------------ model

Model::Model(const ContextOptions& options, const std::string& path, const OpenOptions& open,
             bool lenient)
    : context_(make_context(options)) {
    const Config config = open_config(open);
    if (lenient) {
        check(seqmix_config_set_bool(config.get(), "lenient", 1));
    }
    layer_ = make<Layer>(
        [&](auto** l) { return seqmix_layer_open(context_.get(), path.c_str(), config.get(), l); },
        kCannotRead, path);
    const char* text = nullptr;
    check(seqmix_layer_info(layer_.get(), &text));
    info_ = std::make_shared<Json>(Json::parse(text));
    vocab_ = info_->value("vocab_size", int64_t{0});
    width_ = info_->value("d_model", int64_t{0});
    dna_ = info_->value("scheme", "") == "hyenadna" &&
           vocab_ >= kFirstBase + static_cast<int64_t>(kBases.size());
    if (lenient) {
        return;
    }
    if (vocab_ <= 0) {
        throw Failure(kCannotRead, path + ": the model takes no tokens");
    }
    const std::filesystem::path beside = std::filesystem::path(path) / "tokenizer.json";
    const std::string gguf = gguf_file(path);
    std::error_code ignored;
    if (!open.tokenizer.empty()) {
        tokenizer_ = read_tokenizer(open.tokenizer, vocab_);
    } else if (!open.characters.empty()) {
        tokenizer_ = character_tokenizer(open.characters, vocab_);
    } else if (std::filesystem::exists(beside, ignored)) {
        tokenizer_ = read_tokenizer(beside.string(), vocab_);
    } else if (!gguf.empty()) {
        tokenizer_ = read_gguf_tokenizer(gguf, vocab_, &why_no_text_);
    }
    slots_ = {type_slot("stack", "tokens"), type_slot("stack", "logits"),
              type_slot("stack", "logits_last"), type_slot("stack", "hidden")};
}

uint64_t Model::weight_bytes() const {
    uint64_t bytes = 0;
    check(seqmix_layer_bytes(layer_.get(), SEQMIX_BYTES_WEIGHTS, 1, 1, &bytes));
    return bytes;
}

uint64_t Model::state_bytes() const {
    uint64_t bytes = 0;
    check(seqmix_layer_bytes(layer_.get(), SEQMIX_BYTES_STATE, 1, 1, &bytes));
    return bytes;
}

State Model::new_state() const {
    return make<State>([&](auto** s) { return seqmix_state_create(layer_.get(), nullptr, s); });
}

void Model::prepare(int64_t max_tokens) const {
    check(seqmix_layer_prepare(layer_.get(), 1, max_tokens, 1));
}

void Model::forward(seqmix_state* state, std::span<const int64_t> tokens, const Outputs& outputs,
                    const seqmix_forward_options* options) const {
    const auto count = static_cast<int64_t>(tokens.size());
    Args args;
    args.add(slots_.tokens, tokens.data(), kI64, {1, count});
    if (outputs.logits != nullptr) {
        args.add(slots_.logits, outputs.logits, kF32, {1, count, vocab_});
    }
    if (outputs.logits_last != nullptr) {
        args.add(slots_.logits_last, outputs.logits_last, kF32, {1, vocab_});
    }
    if (outputs.hidden != nullptr) {
        args.add(slots_.hidden, outputs.hidden, kF32, {1, count, width_});
    }
    check(seqmix_layer_forward(layer_.get(), state, args.data(), args.size(), options));
}

void Model::check_tokens(std::span<const int64_t> tokens, const std::string& source) const {
    for (size_t i = 0; i < tokens.size(); ++i) {
        if (tokens[i] < 0 || tokens[i] >= vocab_) {
            throw Failure(kCannotRead, source + ": id " + std::to_string(tokens[i]) + " at item " +
                                           std::to_string(i) + " is outside the vocabulary of " +
                                           std::to_string(vocab_));
        }
    }
}

std::string Model::text_of(int64_t id, int64_t previous) const {
    if (tokenizer_ != nullptr) {
        return tokenizer_->decode(id, previous);
    }
    if (!dna_) {
        return std::string(1, static_cast<char>(static_cast<unsigned char>(id)));
    }
    const int64_t base = id - kFirstBase;
    const bool known = base >= 0 && base < static_cast<int64_t>(kBases.size());
    return std::string(1, known ? kBases[static_cast<size_t>(base)] : '?');
}

std::vector<int64_t> Model::read_input(const std::string& text_path,
                                       const std::string& tokens_path) const {
    std::vector<int64_t> ids;
    for (const std::vector<int64_t>& record : read_records(text_path, tokens_path)) {
        ids.insert(ids.end(), record.begin(), record.end());
    }
    return ids;
}

std::vector<std::vector<int64_t>> Model::read_records(const std::string& text_path,
                                                      const std::string& tokens_path) const {
    if (!tokens_path.empty()) {
        std::vector<int64_t> ids = parse_tokens(read_file(tokens_path), tokens_path);
        check_tokens(ids, tokens_path);
        return {ids};
    }
    const std::string content = read_file(text_path);
    if (!dna_ || !content.starts_with('>')) {
        return {ids_of_text(content)};
    }
    // FASTA: a line that begins with '>' names the record that follows.
    std::vector<std::vector<int64_t>> records;
    std::string_view rest(content);
    while (!rest.empty()) {
        const size_t end = std::min(rest.find('\n'), rest.size());
        std::string_view line = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (line.starts_with('>')) {
            records.emplace_back();
        } else {
            line = line.substr(0, line.find('#'));  // a comment, in some files
            const std::vector<int64_t> ids = ids_of_text(line);
            records.back().insert(records.back().end(), ids.begin(), ids.end());
        }
    }
    return records;
}

std::vector<int64_t> Model::ids_of_text(std::string_view text, bool begins) const {
    if (!this->text()) {
        throw Failure(kUsage, "the model's vocabulary of " + std::to_string(vocab_) +
                                  " is not bytes, so it cannot take text: give ids with --tokens, "
                                  "or --tokenizer" +
                                  (why_no_text_.empty() ? "" : " (" + why_no_text_ + ")"));
    }
    if (tokenizer_ != nullptr) {
        return tokenizer_->encode(text, begins);
    }
    std::vector<int64_t> ids;
    ids.reserve(text.size());
    for (const char c : text) {
        if (!dna_) {
            ids.push_back(static_cast<unsigned char>(c));
        } else if (c != '\n' && c != '\r' && c != ' ' && c != '\t') {
            ids.push_back(base_id(c));
        }
    }
    return ids;
}

// ------------------------------------------------------------------ children

Child::Child(const seqmix_layer* stack, size_t index)
    : layer_(make<Layer>([&](auto** l) { return seqmix_layer_child(stack, index, l); })) {
    const char* text = nullptr;
    check(seqmix_layer_info(layer_.get(), &text));
    role_ = Json::parse(text).value("role", "");
    const char* type = seqmix_layer_type(layer_.get());
    const seqmix_slot_info tokens = find_slot(layer_.get(), "tokens");
    takes_tokens_ = tokens.name != nullptr;
    in_slot_ = type_slot(type, takes_tokens_ ? "tokens" : "x");
    out_slot_ = type_slot(type, "y");
    in_width_ = takes_tokens_ ? 1 : slot_width(find_slot(layer_.get(), "x"));
    out_width_ = slot_width(find_slot(layer_.get(), "y"));
}

seqmix_status Child::forward(seqmix_state* state, const int64_t* tokens, const float* x, float* y,
                             int64_t count) const {
    Args args;
    if (takes_tokens_) {
        args.add(in_slot_, tokens, kI64, {1, count});
    } else {
        args.add(in_slot_, x, kF32, {1, count, in_width_});
    }
    args.add(out_slot_, y, kF32, {1, count, out_width_});
    return seqmix_layer_forward(layer_.get(), state, args.data(), args.size(), nullptr);
}

State child_state(const seqmix_state* state, size_t index) {
    return make<State>([&](auto** view) { return seqmix_state_child(state, index, view); });
}

std::vector<StateTensor> state_tensors(const Child& child, const seqmix_state* view, int64_t rows) {
    std::vector<StateTensor> tensors;
    const size_t count = seqmix_layer_slot_count(child.layer());
    for (size_t i = 0; i < count; ++i) {
        const seqmix_slot_info slot = slot_info(child.layer(), i);
        if (slot.role != SEQMIX_ROLE_STATE) {
            continue;
        }
        StateTensor tensor{slot.name, {}, {}};
        std::vector<int64_t> shape{rows};
        size_t values = static_cast<size_t>(rows);
        bool sized = true;
        for (int32_t axis = 1; axis < slot.ndim; ++axis) {
            const int64_t size = slot.shape[axis];
            sized = sized && size >= 0;
            shape.push_back(size);
            values *= static_cast<size_t>(size);
        }
        if (!sized) {
            continue;  // grows with the past; its size is not to be had
        }
        tensor.shape.assign(shape.begin() + 1, shape.end());
        tensor.values.resize(values);
        const Tensor out(tensor.values.data(), kF64, shape);
        check(seqmix_state_get(view, slot.slot, 0, out.get()));
        tensors.push_back(std::move(tensor));
    }
    return tensors;
}

std::vector<int64_t> state_positions(const seqmix_state* state, const std::string& subject) {
    std::vector<int64_t> positions;
    int64_t position = 0;
    seqmix_status status = SEQMIX_OK;
    while ((status = seqmix_state_position(state, static_cast<int64_t>(positions.size()),
                                           &position)) == SEQMIX_OK) {
        positions.push_back(position);
    }
    if (status != SEQMIX_ERR_INVALID_ARGUMENT) {  // which says that there are no more rows
        check(status, kCannotRead, subject);
    }
    return positions;
}

}  // namespace seqmix_cli
