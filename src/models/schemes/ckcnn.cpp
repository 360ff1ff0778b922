// CKCNN: residual blocks of two CKConvs, and a linear map of the last time step (dwromero/ckconv).
//
//   backbone.{b}.cconv{1,2}.*  backbone.{b}.norm{1,2}.layer_norm.*  backbone.{b}.shortcut.0.*  finallyr.*
//
// The first block changes the width and is the model's encoder. What the files do not say: omega_0
// (required: the sines' frequency), train_length (newer files have it; default: the input's length),
// head (last, or mean over time; default last).
#include <string>

#include "models/schemes/schemes.h"

namespace seqmix {
namespace {

constexpr const char* kScheme = "ckcnn";
constexpr const char* kBlocks = "backbone.";

// Convolution c of block b reads widths `in` and gives D; its kernel net has rows of (in,hidden).
void expect_convolution(NameTable& table, size_t child, const std::string& prefix,
                        const std::string& slot, const char* third) {
    const std::string net = prefix + "Kernel.kernel_net.";
    const struct {
        const char* layer;
        const char* slot;
        const char* v;
        const char* g;
        const char* bias;
    } rows[] = {
        {"0.", "kernel.0.", "E,1,1", "E,1,1", "E"},
        {"4.", "kernel.1.", "E,E,1", "E,1,1", "E"},
        {"8.", "kernel.2.", nullptr, nullptr, third},
    };
    for (const auto& row : rows) {
        // The third layer's rows are a product of widths: its own letter.
        const std::string v = row.v != nullptr ? row.v : std::string(third) + ",E,1";
        const std::string g = row.g != nullptr ? row.g : std::string(third) + ",1,1";
        table.expect(child, net + row.layer + "weight_v", slot + row.slot + "v", table.keep(v));
        table.expect(child, net + row.layer + "weight_g", slot + row.slot + "g", table.keep(g));
        table.expect(child, net + row.layer + "bias", slot + row.slot + "bias", row.bias);
    }
    table.expect(child, prefix + "bias", slot + "bias", "D");
}

}  // namespace

bool is_ckcnn(const TensorNames& names) {
    return names.has_in_layers(kBlocks, ".cconv1.Kernel.kernel_net.0.weight_v") ||
           names.has_in_layers(kBlocks, ".cconv2.Kernel.kernel_net.0.weight_v");
}

Status plan_ckcnn(TensorNames& names, bool lenient, SchemeOptions& options, StackSpec& out) {
    out.scheme = kScheme;
    std::optional<double> omega;
    std::optional<int64_t> train_length;
    std::string head = "last";
    SEQMIX_TRY(options.positive(kScheme, "omega_0", &omega));
    SEQMIX_TRY(options.positive(kScheme, "train_length", &train_length));
    SEQMIX_TRY(options.choice(kScheme, "head", "last|mean", &head));
    if (!omega && !lenient) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, kScheme,
                    ": option 'omega_0' is missing: the file does not hold the frequency of its "
                    "sines, expected a number above 0");
    }
    int64_t blocks = 0;
    SEQMIX_TRY(names.count_layers(kBlocks, &blocks));
    NameTable table(kScheme, names);
    int64_t length = train_length.value_or(0);
    for (int64_t b = 0; b < blocks; ++b) {
        const std::string prefix = kBlocks + std::to_string(b) + ".";
        const size_t child = out.add_child(b == 0 ? "encoder" : "block", "ckblock");
        for (const char* c : {"1", "2"}) {
            const std::string convolution = prefix + "cconv" + c + ".";
            const bool widens = b == 0 && *c == '1';
            expect_convolution(table, child, convolution, std::string("conv") + c + ".",
                               widens ? "W" : "P");
            if (!train_length) {
                SEQMIX_TRY(names.read_integer(kScheme, convolution + "train_length", &length));
            } else {
                table.ignore(convolution + "train_length");
            }
            const std::string norm = prefix + "norm" + c + ".layer_norm.";
            table.expect(child, norm + "weight", std::string("norm") + c + ".weight", "D");
            table.expect(child, norm + "bias", std::string("norm") + c + ".bias", "D");
        }
        if (names.has(prefix + "shortcut.0.weight") || b == 0) {
            table.expect(child, prefix + "shortcut.0.weight", "shortcut.weight",
                         b == 0 ? "D,I,1" : "D,D,1");
            table.expect(child, prefix + "shortcut.0.bias", "shortcut.bias", "D");
        }
    }
    out.add_child("pool", "pool");
    const size_t child = out.add_child("head", "linear");
    table.expect(child, "finallyr.weight", "weight", "C,D");
    table.expect(child, "finallyr.bias", "bias", "C");
    SEQMIX_TRY(table.match(lenient, out));
    table.solve();
    SEQMIX_TRY(table.verify());

    const int64_t D = table.size('D'), I = table.size('I');
    if (table.size('W') != D * I || table.size('P') != D * D) {
        return fail(SEQMIX_ERR_SHAPE, kScheme, ": ", table.origin('W'), " and ", table.origin('P'),
                    ", expected ", D * I, " and ", D * D, " by ", table.origin('D'));
    }
    for (int64_t b = 0; b < blocks; ++b) {
        Attributes& block = out.children[static_cast<size_t>(b)].attributes;
        block.set("d_in", b == 0 ? I : D);
        block.set("d_out", D);
        block.set("hidden", table.size('E'));
        block.set("omega_0", omega.value_or(1.0));
        block.set("train_length", length);
    }
    out.children[child - 1].attributes.set("d_model", D);
    out.children[child - 1].attributes.set("kind", head);
    set_linear_attributes(D, table.size('C'), true, out.children[child].attributes);
    set_stack_attributes(table, false, out);
    return {};
}

}  // namespace seqmix
