// The names of a checkpoint against the names of a scheme.
//
// A scheme lists the tensors it expects, each with a symbolic shape ("R+2N,E"). Sizes are solved
// from the shapes in the file, so that a wrong config.json or a damaged header is found here and
// named.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "models/formats/checkpoint.h"
#include "models/schemes/stack_spec.h"

namespace seqmix {

// A checkpoint's names without the prefix that torch.compile or DataParallel put before them all.
class TensorNames {
  public:
    struct Entry {
        const std::string* stored_name;
        const StoredTensor* tensor;
        bool used;
    };

    explicit TensorNames(const TensorMap& tensors);

    bool has(std::string_view name) const { return entries_.count(name) != 0; }
    Entry* find(std::string_view name);
    // Some name begins with one text, holds a dot-separated number, and ends with the other:
    // ("backbone.layers.", ".mixer.A_log").
    bool has_in_layers(std::string_view begin, std::string_view end) const;
    // 1 + the largest N among names that begin with "backbone.layers.N."; 0 when there is none.
    // SEQMIX_ERR_LIMIT above kMaxLayers.
    Status count_layers(std::string_view begin, int64_t* count) const;
    // The value of an integer scalar, which is then used; `out` stays as it is where there is none.
    Status read_integer(const char* scheme, std::string_view name, int64_t* out);
    // The file's name for a tensor of the scheme.
    std::string stored(std::string_view name) const { return prefix_ + std::string(name); }

    auto begin() const { return entries_.begin(); }
    auto end() const { return entries_.end(); }

  private:
    std::string prefix_;
    std::map<std::string_view, Entry> entries_;
};

// Sizes by letter: V vocabulary, D d_model, E d_inner, N d_state, R dt_rank, K d_conv, I d_input,
// C classes; of S4: M modes, S copies, H kernels and G outputs of a channel, Q rank, T columns of the
// step, F inputs and O outputs of output_linear; of H3: H heads; of CKCNN: E hidden width, W and P rows of the last
// layer of a kernel net; of HyenaDNA: A filter_order, B emb_dim, J hidden width of the MLP, L l_max.
class NameTable {
  public:
    NameTable(const char* scheme, TensorNames& names) : scheme_(scheme), names_(names) {}

    // The next tensor: of child `child`, for its slot `slot`, with a shape of literals.
    void expect(size_t child, std::string name, std::string slot, const char* shape);
    // A shape that is put together, kept as long as the table.
    const char* keep(const std::string& shape) { return kept_.emplace_back(shape).c_str(); }
    // A name that may be there and is not used: a literal name.
    void ignore(std::string_view name);
    // Fills the children's weights and missing slots and the three lists of `out`.
    Status match(bool lenient, StackSpec& out);

    // Sizes from shapes. A size that no tensor gives stays 0.
    void solve();
    int64_t size(char letter) const { return sizes_[index(letter)]; }
    // For a size that no tensor gave.
    void set_default(char letter, int64_t value);
    // The tensors' size must be the one that `source` gives.
    Status cross_check(char letter, const std::string& key, int64_t value,
                       const char* source = "config.json") const;
    // The size's value and the tensor it came from, for messages: "d_model 32 (from tensor ...)".
    std::string origin(char letter) const;
    // Every size known and in range, every tensor of its shape and of a type that weights have.
    Status verify() const;

    const char* scheme() const { return scheme_; }

  private:
    struct Expected {
        size_t child;
        std::string name;
        std::string slot;
        const char* shape;
        const TensorNames::Entry* entry;
    };
    static size_t index(char letter) { return static_cast<size_t>(letter - 'A'); }
    Status verify_shape(const Expected& expected) const;

    const char* scheme_;
    TensorNames& names_;
    std::vector<Expected> expected_;
    std::vector<std::string> ignored_;
    std::deque<std::string> kept_;
    std::array<int64_t, 26> sizes_{};
    std::array<const std::string*, 26> origins_{};  // null: not from a tensor
};

}  // namespace seqmix
