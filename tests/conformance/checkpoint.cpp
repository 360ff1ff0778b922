#include "checkpoint.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

namespace seqmix::conformance {

namespace {

// A safetensors file: u64 length of the header, the header (JSON), the tensors in C order.
class Writer {
  public:
    Writer(Type type, uint64_t seed) : type_(type), random_(seed) {}

    void add(const std::string& name, std::vector<int64_t> shape, double low, double high,
             bool keep_f32 = false) {
        const Type type = keep_f32 ? Type::f32 : type_;
        Values values(shape);
        for (double& value : values.data) {
            value = random_.uniform(low, high);
        }
        const Buffer buffer(values, type);
        const size_t bytes = values.data.size() * size_of(type);
        const size_t begin = data_.size();
        data_.resize(begin + bytes);
        std::memcpy(data_.data() + begin, buffer.tensor()->data, bytes);
        header_[name] = {{"dtype", type == Type::f32   ? "F32"
                                   : type == Type::f16 ? "F16"
                                                       : "BF16"},
                         {"shape", shape},
                         {"data_offsets", {begin, begin + bytes}}};
    }

    void write(const std::string& path) const {
        std::string header = header_.dump();
        header.append((8 - header.size() % 8) % 8, ' ');
        const uint64_t length = header.size();
        std::ofstream file(path, std::ios::binary);
        file.write(reinterpret_cast<const char*>(&length), sizeof length);
        file << header;
        file.write(data_.data(), static_cast<std::streamsize>(data_.size()));
        require(file.good(), "cannot write " + path);
    }

  private:
    Type type_;
    Random random_;
    nlohmann::json header_;
    std::vector<char> data_;
};

}  // namespace

TemporaryFolder::TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "seqmix-XXXXXX").string();
    require(mkdtemp(pattern.data()) != nullptr, "cannot make a temporary folder");
    path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

void write_checkpoint(const std::string& folder, const std::string& config, Type type,
                      uint64_t seed) {
    const nlohmann::json json = nlohmann::json::parse(config);
    const auto size = [&](const char* key) { return json.at(key).get<int64_t>(); };
    const int64_t d = size("hidden_size"), e = size("intermediate_size"), n = size("state_size");
    const int64_t k = size("conv_kernel"), r = size("time_step_rank"), v = size("vocab_size");
    const bool bias = json.value("use_bias", false);
    const bool conv_bias = json.value("use_conv_bias", true);
    const bool tied = json.value("tie_word_embeddings", true);

    Writer writer(type, seed);
    const auto scaled = [&](const std::string& name, int64_t out, int64_t in) {
        const double bound = 1.0 / std::sqrt(static_cast<double>(in));
        writer.add(name, {out, in}, -bound, bound);
    };
    writer.add("backbone.embeddings.weight", {v, d}, -1.0, 1.0);
    for (int64_t i = 0; i < size("num_hidden_layers"); ++i) {
        const std::string layer = "backbone.layers." + std::to_string(i) + ".";
        const std::string mixer = layer + "mixer.";
        writer.add(layer + "norm.weight", {d}, 0.5, 1.5, true);
        const auto attends = json.value("attn_layer_idx", std::vector<int64_t>());
        if (std::find(attends.begin(), attends.end(), i) != attends.end()) {
            const nlohmann::json& attention = json.at("attn_cfg");
            const int64_t heads = attention.at("num_heads").get<int64_t>();
            const int64_t rows = d + 2 * d / heads * attention.value("num_heads_kv", heads);
            scaled(mixer + "in_proj.weight", rows, d);
            writer.add(mixer + "in_proj.bias", {rows}, -0.2, 0.2);
            scaled(mixer + "out_proj.weight", d, d);
            writer.add(mixer + "out_proj.bias", {d}, -0.2, 0.2);
            continue;
        }
        scaled(mixer + "in_proj.weight", 2 * e, d);
        writer.add(mixer + "conv1d.weight", {e, 1, k}, -0.5, 0.5);
        scaled(mixer + "x_proj.weight", r + 2 * n, e);
        scaled(mixer + "dt_proj.weight", e, r);
        writer.add(mixer + "dt_proj.bias", {e}, -4.0, -1.0, true);
        writer.add(mixer + "A_log", {e, n}, 0.0, 2.5, true);
        writer.add(mixer + "D", {e}, 0.5, 1.5, true);
        scaled(mixer + "out_proj.weight", d, e);
        if (bias) {
            writer.add(mixer + "in_proj.bias", {2 * e}, -0.2, 0.2);
            writer.add(mixer + "out_proj.bias", {d}, -0.2, 0.2);
        }
        if (conv_bias) {
            writer.add(mixer + "conv1d.bias", {e}, -0.5, 0.5);
        }
    }
    writer.add("backbone.norm_f.weight", {d}, 0.5, 1.5, true);
    if (!tied) {
        scaled("lm_head.weight", v, d);
    }
    writer.write(folder + "/model.safetensors");
    std::ofstream(folder + "/config.json") << config;
}

}  // namespace seqmix::conformance
