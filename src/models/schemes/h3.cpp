// H3 operators alone, in the names of HazyResearch/safari's H3 module: a stack of one block without
// norm, residual and head. What the file does not say: the discretization of the diagonal SSM (the
// code's default: bilinear).
#include <string>

#include "models/schemes/schemes.h"

namespace seqmix {
namespace {

constexpr const char* kScheme = "h3";

void expect_operator(NameTable& table, size_t child) {
    const auto expect = [&](const char* name, const char* slot, const char* shape) {
        table.expect(child, name, std::string("mixer.") + slot, shape);
    };
    expect("ssm_k_D", "shift.D", "D");
    for (const char* map : {"q_proj", "k_proj", "v_proj"}) {
        const std::string name = map;
        expect((name + ".weight").c_str(), (name + ".weight").c_str(), "D,D");
        expect((name + ".bias").c_str(), (name + ".bias").c_str(), "D");
    }
    expect("ssm_k_kernel.kernel.B", "shift.B", "D,N");
    expect("ssm_k_kernel.kernel.C", "shift.C", "1,D,N");
    expect("D", "ssm.D", "H");
    expect("kernel.kernel.log_dt", "ssm.log_dt", "H");
    expect("kernel.kernel.inv_A_real", "ssm.inv_A_real", "H,M");
    expect("kernel.kernel.A_imag", "ssm.A_imag", "H,M");
    expect("kernel.kernel.B", "ssm.B", "H,M,2");
    expect("kernel.kernel.C", "ssm.C", "1,H,M,2");
    expect("output_linear.weight", "out_proj.weight", "D,D");
    expect("output_linear.bias", "out_proj.bias", "D");
}

}  // namespace

bool is_h3(const TensorNames& names) {
    return names.has("ssm_k_kernel.kernel.C") || names.has("ssm_k_kernel.kernel.B") ||
           names.has("ssm_k_D");
}

Status plan_h3(TensorNames& names, bool lenient, SchemeOptions& options, StackSpec& out) {
    out.scheme = kScheme;
    std::string discretization = "bilinear";
    SEQMIX_TRY(options.choice(kScheme, "discretization", "bilinear|zoh", &discretization));
    NameTable table(kScheme, names);
    const size_t child = out.add_child("block", "block");
    expect_operator(table, child);
    SEQMIX_TRY(table.match(lenient, out));
    table.solve();
    SEQMIX_TRY(table.verify());
    const int64_t D = table.size('D'), H = table.size('H');
    if (D % H != 0) {
        return fail(SEQMIX_ERR_SHAPE, kScheme, ": ", table.origin('H'), ", expected a divisor of ",
                    table.origin('D'));
    }
    if (table.size('N') != 2 * table.size('M')) {
        return fail(SEQMIX_ERR_SHAPE, kScheme, ": ", table.origin('M'), ", expected half of ",
                    table.origin('N'));
    }
    Attributes& attributes = out.children[child].attributes;
    attributes.set("d_model", D);
    attributes.set("norm", std::string("none"));
    attributes.set("residual", false);
    attributes.set("mixer", std::string("h3"));
    attributes.set("mixer.head_dim", D / H);
    attributes.set("mixer.d_state", table.size('N'));
    attributes.set("mixer.disc", discretization);
    set_stack_attributes(table, false, out);
    return {};
}

}  // namespace seqmix
