// A checkpoint as one file whose matrices are in the type that they are multiplied in.
//
// Which tensors are matrices is what the layers say when they are bound (BindCall::matrices). A tensor
// that all of its slots read as a matrix is converted, in the orientation that they want; all else
// is copied as it is. The file says how it is multiplied, so what was not converted here (a matrix that
// something else reads too) is when it is opened, and numbers are those of the original either way.
#include <algorithm>
#include <map>
#include <utility>

#include "base/json_writer.h"
#include "models/formats/converted.h"
#include "models/open.h"

namespace seqmix {
namespace {

enum class Target : uint8_t { as_it_is, f32, bf16, int8 };

struct Use {
    bool matrix = true;       // for every slot
    bool transposed = false;  // slots want (columns, rows) of the original's
    int64_t columns = 0;
};

// One tensor to be written; `factors`: those of an int8 tensor, which is written before them.
struct Output {
    std::string name;
    const StoredTensor* from = nullptr;
    std::vector<int64_t> shape;  // of the bytes
    Target target = Target::as_it_is;
    bool turn = false;  // the bytes of `from` have the two axes exchanged
    bool factors = false;
    const char* type = "";
    int64_t bytes = 0;
};

using Uses = std::map<std::string, Use, std::less<>>;

// How the child's slots read their tensors.
Status add_uses(const ChildSpec& spec, const Checkpoint& checkpoint, Allocator allocator,
                Uses* uses) {
    std::shared_ptr<LayerCore> planned;
    std::shared_ptr<WeightStore> store;
    SEQMIX_TRY(load_child(spec, checkpoint, allocator, Isa::generic, &planned, &store));
    SEQMIX_TRY(check_weights(*planned->plan, *store));
    std::vector<BoundMatrix> matrices;
    std::unique_ptr<Bound> bound;
    SEQMIX_TRY(planned->mixer().bind(
        {*planned->plan, *store, allocator, Isa::generic, WeightFormat::stored, &matrices}, bound));
    for (size_t i = 0; i < spec.weights.size(); ++i) {
        const Weight& weight = store->entries[i].weight;
        const auto begin = reinterpret_cast<uintptr_t>(weight.data);
        const auto size = static_cast<uintptr_t>(weight.coded().bytes(weight.count()));
        const auto found =
            std::find_if(matrices.begin(), matrices.end(), [&](const BoundMatrix& matrix) {
                const auto at = reinterpret_cast<uintptr_t>(matrix.data);
                return at >= begin && at - begin < size;
            });
        Use use{found != matrices.end(), spec.weights[i].transposed,
                found != matrices.end() ? found->columns : 0};
        const auto [place, is_new] = uses->emplace(spec.weights[i].tensor, use);
        Use& known = place->second;
        known.matrix = use.matrix && known.matrix && known.transposed == use.transposed &&
                       known.columns == use.columns;
    }
    return {};
}

int64_t count_of(const std::vector<int64_t>& shape) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    return count;
}

void plan_matrix(const Use& use, WeightFormat format, Output* out) {
    out->turn = use.transposed != out->from->turned;
    if (out->turn) std::swap(out->shape[0], out->shape[1]);
    const int64_t count = count_of(out->shape);
    out->target = format == WeightFormat::int8 ? Target::int8 : Target::bf16;
    out->type = format == WeightFormat::int8 ? "I8" : "BF16";
    out->bytes = format == WeightFormat::int8 ? count : 2 * count;
}

Output plan_tensor(const std::string& name, const StoredTensor& tensor, const Use* use,
                   WeightFormat format) {
    Output out;
    out.name = name;
    out.from = &tensor;
    const Weight stored = stored_weight(tensor);
    out.shape = stored.shape;
    out.type = tensor.dtype_text;
    out.bytes = static_cast<int64_t>(tensor.bytes);
    const bool lies_so = use != nullptr && use->transposed == tensor.turned;
    const bool in_rows = use != nullptr && use->matrix && stored.shape.size() >= 2 &&
                         (lies_so ? stored.shape.back() == use->columns
                                  : stored.shape.size() == 2 && stored.shape[0] == use->columns);
    const bool done =
        lies_so && (format == WeightFormat::stored ||
                    (format == WeightFormat::bf16 && tensor.dtype == DType::bf16) ||
                    (format == WeightFormat::int8 && stored.coding == Coding::i8_rows));
    if (in_rows && !done && format != WeightFormat::stored) {
        plan_matrix(*use, format, &out);
    } else if (tensor.coding == Coding::q8_0) {
        out.target = Target::f32;
        out.type = "F32";
        out.bytes = 4 * count_of(out.shape);
    }
    return out;
}

bool has_factors(const Output& out) {
    return out.target == Target::int8 ||
           (out.target == Target::as_it_is && out.from->coding == Coding::i8_rows);
}

Output factors_of(const Output& matrix) {
    Output out = matrix;
    out.name += kFactorsSuffix;
    out.shape.back() = 1;
    out.factors = true;
    out.type = "F32";
    out.bytes = 4 * count_of(out.shape);
    return out;
}

// Bytes of full lines first: every matrix begins at a line then, and all else at its own width.
int alignment_rank(const Output& out) {
    constexpr int64_t kWidths[] = {8, 4, 2};
    if (out.bytes % static_cast<int64_t>(kAlignment) == 0) return 0;
    int rank = 1;
    for (const int64_t width : kWidths) {
        if (out.bytes % width == 0) return rank;
        ++rank;
    }
    return rank;
}

std::string header(const std::vector<Output>& outputs, const Metadata& metadata) {
    JsonWriter json;
    json.begin_object().key("__metadata__").begin_object();
    for (const auto& [key, value] : metadata) json.member(key, value);
    json.end_object();
    int64_t at = 0;
    for (const Output& out : outputs) {
        json.key(out.name).begin_object().member("dtype", out.type).member("shape", out.shape);
        json.key("data_offsets").begin_array().value(at).value(at + out.bytes).end_array();
        json.end_object();
        at += out.bytes;
    }
    std::string text = json.end_object().text();
    text.resize((text.size() + 8 + kAlignment - 1) / kAlignment * kAlignment - 8, ' ');
    std::string length;
    for (size_t i = 0; i < 8; ++i) length += static_cast<char>(text.size() >> (8 * i) & 0xff);
    return length + text;
}

// `count` values become `bytes` bytes by fn(values, count, to), some at a time, in pieces of whole rows.
template <class Fn>
Status write_rows(const Weight& values, int64_t row, int64_t bytes_of_row, NewFile& file,
                  Allocator allocator, Fn&& fn) {
    const int64_t rows = row == 0 ? 0 : values.count() / row;
    const int64_t most = std::max<int64_t>((int64_t{1} << 20) / std::max<int64_t>(row, 1), 1);
    Array<float> from(std::min(rows, most) * row, allocator);
    Array<std::byte> to(std::min(rows, most) * bytes_of_row, allocator);
    for (int64_t first = 0; first < rows; first += most) {
        const int64_t n = std::min(most, rows - first);
        values.read(first * row, n * row, from.data());
        for (int64_t r = 0; r < n; ++r) {
            fn(from.data() + r * row, to.data() + r * bytes_of_row);
        }
        SEQMIX_TRY(file.write(to.data(), static_cast<size_t>(n * bytes_of_row)));
    }
    return {};
}

Status write_tensor(const Output& out, NewFile& file, Allocator allocator) {
    if (out.target == Target::as_it_is) {
        return file.write(out.factors ? out.from->factors : out.from->data,
                          static_cast<size_t>(out.bytes));
    }
    Weight values = stored_weight(*out.from);
    Array<float> turned;
    if (out.turn) {
        const int64_t rows = values.shape[0], columns = values.shape[1];
        turned = weight_f32_transposed(values, rows, columns, allocator);
        values = {turned.data(), DType::f32, {columns, rows}};
    }
    const int64_t row = values.shape.empty() ? 1 : values.shape.back();
    if (out.factors) {
        return write_rows(values, row, 4, file, allocator, [&](const float* x, std::byte* to) {
            const float factor = row_factor(x, row).factor;
            std::memcpy(to, &factor, sizeof factor);
        });
    }
    switch (out.target) {
        case Target::int8:
            return write_rows(values, row, row, file, allocator,
                              [&](const float* x, std::byte* to) {
                                  const RowFactor by = row_factor(x, row);
                                  for (int64_t i = 0; i < row; ++i) {
                                      to[i] = static_cast<std::byte>(to_int8(x[i], by));
                                  }
                              });
        case Target::bf16:
            return write_rows(values, row, 2 * row, file, allocator,
                              [&](const float* x, std::byte* to) {
                                  for (int64_t i = 0; i < row; ++i) {
                                      const uint16_t half = f32_to_bf16(x[i]);
                                      std::memcpy(to + 2 * i, &half, sizeof half);
                                  }
                              });
        default:
            return write_rows(values, row, 4 * row, file, allocator,
                              [&](const float* x, std::byte* to) {
                                  std::memcpy(to, x, static_cast<size_t>(row) * sizeof(float));
                              });
    }
}

}  // namespace

Status convert_model(const std::string& path, const Attributes& options, Allocator allocator,
                     WeightFormat format, const std::string& to) {
    Checkpoint checkpoint;
    StackSpec spec;
    SEQMIX_TRY(read_model(path, options, &checkpoint, &spec));
    Uses uses;
    for (const ChildSpec& child : spec.children) {
        SEQMIX_TRY(add_uses(child, checkpoint, allocator, &uses));
    }
    std::vector<Output> outputs;
    std::vector<std::string> turned;
    for (const auto& [name, tensor] : checkpoint.tensors) {
        const auto use = uses.find(name);
        outputs.push_back(
            plan_tensor(name, tensor, use == uses.end() ? nullptr : &use->second, format));
        const Output& out = outputs.back();
        if (out.target == Target::as_it_is || out.target == Target::f32 ? tensor.turned
                                                                        : use->second.transposed) {
            turned.push_back(name);
        }
        if (has_factors(out)) {
            if (checkpoint.tensors.count(name + kFactorsSuffix) != 0) {
                return fail(SEQMIX_ERR_UNSUPPORTED, "convert: the checkpoint has a tensor ",
                            in_quotes(name + kFactorsSuffix), ", the name of the factors of ",
                            in_quotes(name));
            }
            outputs.push_back(factors_of(out));
        }
    }
    std::sort(outputs.begin(), outputs.end(), [](const Output& a, const Output& b) {
        const int first = alignment_rank(a), second = alignment_rank(b);
        return first != second ? first < second : a.name < b.name;
    });
    const Metadata metadata =
        converted_metadata(checkpoint.metadata, format, turned,
                           checkpoint.config_inside ? checkpoint.config.get() : nullptr);
    std::unique_ptr<NewFile> file;
    SEQMIX_TRY(NewFile::create(to, file));
    const std::string front = header(outputs, metadata);
    SEQMIX_TRY(file->write(front.data(), front.size()));
    for (const Output& out : outputs) {
        SEQMIX_TRY(write_tensor(out, *file, allocator));
    }
    return file->finish();
}

}  // namespace seqmix
