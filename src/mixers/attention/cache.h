// Keys and values of the tokens that a row has seen, as state tensors of a mixer: either all of them, in
// a tensor that grows, or a ring of those that a sliding window reaches. Token t of a sequence is line
// t, or line t mod the ring's lines, a multiple of a block of keys, so that blocks are never cut
// elsewhere than at a multiple of their size.
//
// A step is worked off in rounds: in each, every row takes the next tokens of one segment, as many as
// the ring holds beside what they look back at; first all lines are written, then all tokens attend.
//
// `clock` (2): t mod 2^20 and t / 2^20 of the next token, exact in f32 whatever the length.
#pragma once

#include <array>

#include "contract/mixer.h"
#include "primitives/attention/attention.h"

namespace seqmix::mixers {

struct CacheSizes {
    int64_t k_width = 0, v_width = 0;
    int64_t window = 0;  // keys that a token sees, itself included; 0: all before it
    int64_t lines = 0;   // of the ring, or the most tokens of a sequence
    int64_t piece = 0;   // most tokens of a round

    // Room for `window` keys, or for `max_tokens` where it is 0.
    static CacheSizes make(int64_t k_width, int64_t v_width, int64_t window, int64_t max_tokens);
};

// Tokens of one row in a round.
struct CachePiece {
    const RowRun* run;
    int64_t segment, done;  // the segment and its tokens that are worked off
    int64_t first, count;   // tokens of the step
    int64_t position;       // of the first in its sequence
    bool step;              // the only token of its sequence in the call
};

class CachePass {
  public:
    static constexpr std::array<StateSpec, 3> states(int32_t slot) {
        return {{{slot, "keys", "(past,k_width)", false,
                  "keys of the tokens seen, normalised and rotated: token t is line t, or, with a "
                  "window, line t mod past",
                  true},
                 {slot + 1, "values", "(past,v_width)", false, "their values", true},
                 {slot + 2, "clock", "(2)", false,
                  "the next token's number in its sequence, mod 2^20 and divided by 2^20"}}};
    }
    static size_t scratch_bytes(const StepShape& step);

    // The state tensors are the first three of the plan. Without them (`cached` false) a segment is a
    // whole sequence.
    CachePass(const CacheSizes& sizes, const Call& call, bool cached, Scratch& scratch);

    // (tokens of the step): of each in its sequence.
    const int64_t* positions() const { return positions_; }

    // The next round; false when all tokens are done. T is float, or double at level reference.
    template <class T>
    bool next();
    // Keys and values of the round's tokens, of matrices (tokens, width).
    template <class T>
    void append(const T* k, const T* v, ptrdiff_t stride) const;
    // Where all tokens are: the clocks move.
    template <class T>
    void finish() const;

    int64_t pieces() const { return call_.run_count; }
    const CachePiece& piece(int64_t i) const { return pieces_[i]; }
    int64_t longest() const { return longest_; }  // tokens of a piece of this round

    // The keys that `piece` sees, of a head whose columns begin at k_column and v_column, in one or two
    // runs; returns how many.
    int64_t runs(const CachePiece& piece, int64_t k_column, int64_t v_column,
                 AttentionKeys out[2]) const;
    // The line of a token's key.
    int64_t line(int64_t position) const {
        return sizes_.window > 0 ? position % sizes_.lines : position;
    }

  private:
    template <class T>
    void find_positions();
    template <class T>
    void clear(const CachePiece& piece) const;

    const CacheSizes& sizes_;
    const Call& call_;
    bool cached_;
    int64_t* positions_;
    CachePiece* pieces_;
    int64_t longest_ = 0;
    bool started_ = false;
};

}  // namespace seqmix::mixers
