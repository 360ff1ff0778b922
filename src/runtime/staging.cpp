#include "runtime/staging.h"

#include <algorithm>
#include <cstring>

namespace seqmix {

SlotKind slot_kind(const std::vector<int64_t>& shape) {
    if (std::find(shape.begin(), shape.end(), kDimTk) != shape.end()) {
        return SlotKind::source;
    }
    if (shape.size() >= 2 && shape[0] == kDimB && shape[1] == kDimT) {
        return SlotKind::token;
    }
    return !shape.empty() && shape[0] == kDimR ? SlotKind::row : SlotKind::constant;
}

int64_t slot_width(const std::vector<int64_t>& shape) {
    const SlotKind kind = slot_kind(shape);
    int64_t width = 1;
    for (size_t i = kind == SlotKind::token ? 2
                    : kind == SlotKind::row ? 1
                                            : 0;
         i < shape.size(); ++i) {
        width *= shape[i];
    }
    return width;
}

std::byte* token_address(const View& view, const Place& place) {
    return view.data +
           (place.batch * view.strides[0] + place.token * view.strides[1]) * view.element_size();
}

ptrdiff_t token_distance(const View& view, const Step& step) {
    if (step.segment_count > 1 && step.segments[0].count == 1) {
        return (token_address(view, step.places[1]) - token_address(view, step.places[0])) /
               view.element_size();
    }
    return step.direction * view.strides[1];
}

bool in_place(const View& view, const Step& step, ptrdiff_t* stride) {
    if (!view.aligned() || !view.dense_from(2)) {
        return false;
    }
    const ptrdiff_t inside = step.direction * view.strides[1];
    const ptrdiff_t distance = token_distance(view, step);
    for (int64_t s = 0; s < step.segment_count; ++s) {
        if (step.segments[s].count > 1 && distance != inside) {
            return false;
        }
        if (s > 0 && token_address(view, step.places[s]) !=
                         token_address(view, step.places[s - 1]) +
                             distance * step.segments[s - 1].count * view.element_size()) {
            return false;
        }
    }
    *stride = distance;
    return true;
}

void zero_view(const View& view) {
    if (view.count == 0) {
        return;
    }
    if (view.dense_from(0)) {
        std::memset(view.data, 0, static_cast<size_t>(view.count * view.element_size()));
        return;
    }
    for (int64_t i = 0; i < view.shape[0]; ++i) {
        if (view.ndim == 1) {
            std::memset(view.data + i * view.strides[0] * view.element_size(), 0,
                        static_cast<size_t>(view.element_size()));
        } else {
            zero_view(sub_view(view, 1, i));
        }
    }
}

namespace {

// Tokens of a segment, in tiles small enough for the first-level cache: where the channel stride is
// large ((B,D,T) data), each cache line of the source is used for a whole tile of tokens.
constexpr int64_t kTile = 32;

template <class Fn>
void for_each_tile(const Step& step, const Call& call, Fn&& fn) {
    // One piece is one tile of one segment; counting them depends on shapes only.
    const int64_t pieces = (step.tokens + kTile - 1) / kTile;
    call.parallel_for(pieces, [&](int64_t piece, size_t) {
        const int64_t begin = piece * kTile, end = std::min(step.tokens, begin + kTile);
        // The segments are sorted by `first`.
        const Segment* s =
            std::upper_bound(step.segments, step.segments + step.segment_count, begin,
                             [](int64_t token, const Segment& seg) { return token < seg.first; }) -
            1;
        for (; s < step.segments + step.segment_count && s->first < end; ++s) {
            const int64_t first = std::max(begin, s->first);
            const int64_t last = std::min(end, s->first + s->count);
            if (first < last) {
                const Place& place = step.places[s - step.segments];
                fn(first, last - first,
                   Place{place.batch, place.token + step.direction * (first - s->first)});
            }
        }
    });
}

}  // namespace

template <class T>
void pack_tokens(const View& view, const Step& step, int64_t width, const Call& call, T* out) {
    for_each_tile(step, call, [&](int64_t first, int64_t count, const Place& place) {
        T* to = out + first * width;
        const int64_t size = view.element_size();
        const int64_t token_stride = step.direction * view.strides[1];
        if (view.dense_from(2)) {
            for (int64_t t = 0; t < count; ++t) {
                read_elements(token_address(view, place) + t * token_stride * size, view.dtype, 1,
                              width, to + t * width, 1);
            }
            return;
        }
        if (view.ndim == 3) {  // column by column: (B,D,T) data is contiguous along tokens
            for (int64_t d = 0; d < width; ++d) {
                read_elements(token_address(view, place) + d * view.strides[2] * size, view.dtype,
                              token_stride, count, to + d, width);
            }
            return;
        }
        for (int64_t t = 0; t < count; ++t) {
            read_dense(sub_view(view, 2, place.batch, place.token + step.direction * t),
                       to + t * width);
        }
    });
}

template <class T>
void unpack_tokens(const T* in, const Step& step, int64_t width, const Call& call,
                   const View& view) {
    for_each_tile(step, call, [&](int64_t first, int64_t count, const Place& place) {
        const T* from = in + first * width;
        const int64_t size = view.element_size();
        const int64_t token_stride = step.direction * view.strides[1];
        if (view.ndim == 3 && !view.dense_from(2)) {
            for (int64_t d = 0; d < width; ++d) {
                write_elements(from + d, width, count,
                               token_address(view, place) + d * view.strides[2] * size, view.dtype,
                               token_stride);
            }
            return;
        }
        for (int64_t t = 0; t < count; ++t) {
            write_dense(from + t * width,
                        sub_view(view, 2, place.batch, place.token + step.direction * t));
        }
    });
}

template void pack_tokens(const View&, const Step&, int64_t, const Call&, float*);
template void pack_tokens(const View&, const Step&, int64_t, const Call&, double*);
template void pack_tokens(const View&, const Step&, int64_t, const Call&, int64_t*);
template void unpack_tokens(const float*, const Step&, int64_t, const Call&, const View&);
template void unpack_tokens(const double*, const Step&, int64_t, const Call&, const View&);

void zero_padding(const Plan& plan, const Arguments& args) {
    const View* cu = args.find(plan, SEQMIX_SLOT_CU_SEQLENS);
    const View* lengths = args.find(plan, SEQMIX_SLOT_LENGTHS);
    const View* seq = args.find(plan, SEQMIX_SLOT_SEQ_IDX);
    for (size_t i = 0; i < plan.slots.size(); ++i) {
        const View& view = args.views[i];
        if (plan.slots[i].role != Role::output || !view) {
            continue;
        }
        const auto& shape = plan.slots[i].shapes[static_cast<size_t>(args.variants[i])];
        if (slot_kind(shape) == SlotKind::row) {
            zero_view(view);  // a row without tokens stays so
            continue;
        }
        for (int64_t b = 0; b < args.batch && (cu || lengths || seq); ++b) {
            int64_t end = args.time;
            if (lengths != nullptr) {
                end = row_span(plan, args, b).count;
            } else if (cu != nullptr) {
                const RowSpan last =
                    args.rows > 0 ? row_span(plan, args, args.rows - 1) : RowSpan{};
                end = args.rows > 0 ? last.begin + last.count : 0;
            }
            for (int64_t t = 0; t < args.time; ++t) {
                bool padding = t >= end;
                if (!padding && seq != nullptr) {
                    int64_t value = 0;
                    read_elements(token_address(*seq, {b, t}), seq->dtype, 1, 1, &value, 1);
                    padding = value < 0;
                }
                if (padding) {
                    zero_view(sub_view(view, 2, b, t));
                }
            }
        }
    }
}

}  // namespace seqmix
