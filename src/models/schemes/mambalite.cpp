// A classifier around one Mamba-1 mixer: linear_in, mamba without norm and residual, the mean over
// time, classifier. It has no config.json; everything follows from the tensors.
#include "models/schemes/schemes.h"

namespace seqmix {

Status plan_mambalite(TensorNames& names, bool lenient, StackSpec& out) {
    constexpr const char* kScheme = "mambalite";
    out.scheme = kScheme;
    MambaMixer mixer;
    mixer.bias = names.has("mamba.in_proj.bias") || names.has("mamba.out_proj.bias");
    mixer.conv_bias = names.has("mamba.conv1d.bias");
    const bool encoder_bias = names.has("linear_in.bias");
    const bool head_bias = names.has("classifier.bias");

    enum Child : size_t { kEncoder, kBlock, kPool, kHead };
    out.add_child("encoder", "linear");
    out.add_child("block", "block");
    out.add_child("pool", "pool");
    out.add_child("head", "linear");
    NameTable table(kScheme, names);
    table.expect(kEncoder, "linear_in.weight", "weight", "D,I");
    if (encoder_bias) {
        table.expect(kEncoder, "linear_in.bias", "bias", "D");
    }
    expect_mixer(table, kBlock, "mamba.", mixer);
    table.expect(kHead, "classifier.weight", "weight", "C,D");
    if (head_bias) {
        table.expect(kHead, "classifier.bias", "bias", "C");
    }
    SEQMIX_TRY(table.match(lenient, out));
    table.solve();
    SEQMIX_TRY(table.verify());

    const int64_t d_model = table.size('D');
    set_linear_attributes(table.size('I'), d_model, encoder_bias,
                          out.children[kEncoder].attributes);
    Attributes& block = out.children[kBlock].attributes;
    block.set("d_model", d_model);
    block.set("norm", std::string("none"));
    block.set("norm_eps", 1e-5);
    block.set("residual", false);
    set_mixer_attributes(table, mixer, block);
    out.children[kPool].attributes.set("d_model", d_model);
    out.children[kPool].attributes.set("kind", std::string("mean"));
    set_linear_attributes(d_model, table.size('C'), head_bias, out.children[kHead].attributes);
    set_stack_attributes(table, false, out);
    return {};
}

}  // namespace seqmix
