// An opened checkpoint as the commands use it: tokens in, logits or hidden states out.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common.h"
#include "tokenizer.h"

namespace seqmix_cli {

struct ContextOptions {
    int threads = 0;      // 0: one per CPU
    std::string isa;      // empty: the best one
    std::string weights;  // empty: as stored
    bool verbose = false;
};

// How a checkpoint is opened and what its tokens mean.
struct OpenOptions {
    std::vector<std::string> settings;  // key=value, for seqmix_layer_open
    std::string tokenizer;              // tokenizer.json, llama2.c's tokenizer.bin, or GGUF
    std::string characters;             // id i is the i-th
};

Context make_context(const ContextOptions& options);
Config open_config(const OpenOptions& open);  // of seqmix_layer_open
Json context_info(const seqmix_context* context);

// What a forward call should fill; what is null is not computed.
struct Outputs {
    float* logits = nullptr;       // (T,V)
    float* logits_last = nullptr;  // (V)
    float* hidden = nullptr;       // (T,D)
};

class Model {
  public:
    // lenient: an incomplete checkpoint opens for inspection.
    Model(const ContextOptions& options, const std::string& path, const OpenOptions& open = {},
          bool lenient = false);

    const seqmix_layer* layer() const { return layer_.get(); }
    const seqmix_context* context() const { return context_.get(); }
    const Json& info() const { return *info_; }
    int64_t vocab() const { return vocab_; }
    int64_t width() const { return width_; }
    // Text goes in and out: by a tokenizer that was given or lies beside the weights, bytes for a
    // vocabulary of 256, bases for HyenaDNA. Other models talk in ids.
    bool text() const { return tokenizer_ != nullptr || vocab_ == 256 || dna_; }
    bool has_tokenizer() const { return tokenizer_ != nullptr; }
    // What is known of a vocabulary in the model's file that could not be used; else empty.
    const std::string& why_no_text() const { return why_no_text_; }
    bool bytes() const { return tokenizer_ == nullptr && vocab_ == 256; }
    // What a token of a model of text adds after `previous` (-1: nothing); '?' for what has no text.
    std::string text_of(int64_t id, int64_t previous) const;
    // The id that ends a text, or -1.
    int64_t end() const { return tokenizer_ == nullptr ? -1 : tokenizer_->end(); }
    uint64_t weight_bytes() const;
    uint64_t state_bytes() const;  // of one row

    State new_state() const;
    void prepare(int64_t max_tokens) const;
    // One row; the ids have been checked.
    void forward(seqmix_state* state, std::span<const int64_t> tokens, const Outputs& outputs,
                 const seqmix_forward_options* options = nullptr) const;

    // Refuses ids outside the vocabulary, naming `source`.
    void check_tokens(std::span<const int64_t> tokens, const std::string& source) const;
    // The ids of a file of text or of a list of ids; exactly one path is not empty. Of a FASTA file,
    // which a model of DNA takes, the bases of all records in turn.
    std::vector<int64_t> read_input(const std::string& text_path,
                                    const std::string& tokens_path) const;
    // The same by records: only FASTA files have more than one.
    std::vector<std::vector<int64_t>> read_records(const std::string& text_path,
                                                   const std::string& tokens_path) const;
    // `begins`: the text is not the continuation of another.
    std::vector<int64_t> ids_of_text(std::string_view text, bool begins = true) const;

  private:
    Context context_;
    Layer layer_;
    std::shared_ptr<Json> info_;  // by pointer: json_fwd.hpp declares the type only
    int64_t vocab_ = 0;
    int64_t width_ = 0;
    bool dna_ = false;
    std::shared_ptr<const Tokenizer> tokenizer_;
    std::string why_no_text_;
    struct {
        int32_t tokens, logits, logits_last, hidden;
    } slots_{};
};

// One child of a stack, driven by itself: tokens (an embedding) or x in, y out.
class Child {
  public:
    Child(const seqmix_layer* stack, size_t index);

    const seqmix_layer* layer() const { return layer_.get(); }
    const std::string& role() const { return role_; }
    bool takes_tokens() const { return takes_tokens_; }
    int64_t in_width() const { return in_width_; }  // 1 when it takes tokens
    int64_t out_width() const { return out_width_; }
    seqmix_status forward(seqmix_state* state, const int64_t* tokens, const float* x, float* y,
                          int64_t count) const;

  private:
    Layer layer_;
    std::string role_;
    bool takes_tokens_ = false;
    int64_t in_width_ = 1;
    int64_t out_width_ = 1;
    int32_t in_slot_ = 0;
    int32_t out_slot_ = 0;
};

// The state tensors of one child (SEQMIX_ROLE_STATE), read out in f64, one row.
struct StateTensor {
    std::string name;
    std::vector<int64_t> shape;  // without the row
    std::vector<double> values;
};
std::vector<StateTensor> state_tensors(const Child& child, const seqmix_state* view, int64_t rows);
State child_state(const seqmix_state* state, size_t index);
// The position of each row; a failure (layers at different ones) names `subject`, the state's file.
std::vector<int64_t> state_positions(const seqmix_state* state, const std::string& subject = {});

}  // namespace seqmix_cli
