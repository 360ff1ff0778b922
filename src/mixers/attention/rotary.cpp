#include "mixers/attention/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "primitives/rope/reference.h"

namespace seqmix::mixers {

Status Rotary::read(const char* type, const Attributes& attributes, int64_t head_dim) {
    const std::string& pairing = attributes.str("rotary");
    if (pairing == "none") {
        return Status();
    }
    interleaved_ = pairing == "interleaved";
    int64_t r = attributes.i64("rotary_dim");
    r = r == 0 ? head_dim : r;
    if (r % 2 != 0 || r > head_dim) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, type, ": rotary_dim is ", r,
                    ", expected an even number up to the head's width ", head_dim);
    }
    theta_ = attributes.f64("rope_theta");
    factor_ = attributes.f64("rope_factor");
    original_ = attributes.i64("rope_original_length");
    frequencies_.resize(static_cast<size_t>(r / 2));
    rope_frequencies(theta_, r, frequencies_.data());
    return read_scaling(type, attributes);
}

Status Rotary::read_scaling(const char* type, const Attributes& attributes) {
    const std::string& kind = attributes.str("rope_scaling");
    scaling_ = kind == "linear"     ? Scaling::linear
               : kind == "dynamic"  ? Scaling::dynamic
               : kind == "llama3"   ? Scaling::llama3
               : kind == "yarn"     ? Scaling::yarn
               : kind == "longrope" ? Scaling::longrope
                                    : Scaling::none;
    if (scaling_ != Scaling::none && scaling_ != Scaling::linear && original_ == 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, type, ": rope_scaling '", kind,
                    "' without rope_original_length, expected the tokens that it was trained on");
    }
    switch (scaling_) {
        case Scaling::none: break;
        case Scaling::linear:
            for (double& f : frequencies_) f /= factor_;
            break;
        case Scaling::dynamic:
            if (pairs() < 2) {
                return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, type,
                            ": rope_scaling 'dynamic' takes a rotary_dim of at least 4");
            }
            break;
        case Scaling::llama3: scale_llama3(attributes); break;
        case Scaling::yarn: scale_yarn(attributes); break;
        case Scaling::longrope: return read_longrope(type, attributes);
    }
    return Status();
}

void Rotary::scale_llama3(const Attributes& attributes) {
    const double low = attributes.f64("rope_low_freq_factor"),
                 high = attributes.f64("rope_high_freq_factor");
    for (double& f : frequencies_) {
        const double wave = 2 * std::numbers::pi / f;
        const double u =
            std::clamp((static_cast<double>(original_) / wave - low) / (high - low), 0.0, 1.0);
        f *= (1 - u) / factor_ + u;
    }
}

void Rotary::scale_yarn(const Attributes& attributes) {
    const auto r = static_cast<double>(2 * pairs());
    // The pair that makes so many turns in M tokens.
    const auto pair_of = [&](double turns) {
        return r * std::log(static_cast<double>(original_) / (2 * std::numbers::pi * turns)) /
               (2 * std::log(theta_));
    };
    double low = pair_of(attributes.f64("rope_beta_fast")),
           high = pair_of(attributes.f64("rope_beta_slow"));
    if (attributes.flag("rope_truncate")) {
        low = std::floor(low);
        high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, r - 1);
    high = low == high ? high + 0.001 : high;
    for (size_t i = 0; i < frequencies_.size(); ++i) {
        const double m = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        frequencies_[i] *= m / factor_ + 1 - m;
    }
    const auto growth = [&](double mscale) {
        return factor_ <= 1 ? 1.0 : 0.1 * mscale * std::log(factor_) + 1;
    };
    const double given = attributes.f64("rope_attention_factor"),
                 mscale = attributes.f64("rope_mscale"),
                 all = attributes.f64("rope_mscale_all_dim");
    scale_ = given > 0 ? given : mscale > 0 && all > 0 ? growth(mscale) / growth(all) : growth(1);
}

Status Rotary::read_longrope(const char* type, const Attributes& attributes) {
    const auto read = [&](const char* name, std::vector<double>* out) -> Status {
        const auto& divisors = std::get<std::vector<double>>(*attributes.find(name));
        if (divisors.size() != frequencies_.size()) {
            return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, type, ": ", name, " has ",
                        static_cast<int64_t>(divisors.size()), " numbers, expected ", pairs());
        }
        for (size_t i = 0; i < divisors.size(); ++i) {
            if (!(divisors[i] > 0) || !std::isfinite(divisors[i])) {
                return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, type, ": ", name, "[",
                            static_cast<int64_t>(i), "] is ", divisors[i], ", expected above 0");
            }
            (*out)[i] = frequencies_[i] / divisors[i];
        }
        return Status();
    };
    std::vector<double> near(frequencies_.size()), far(frequencies_.size());
    SEQMIX_TRY(read("rope_short_factors", &near));
    SEQMIX_TRY(read("rope_long_factors", &far));
    frequencies_ = std::move(near);
    long_frequencies_ = std::move(far);
    const double given = attributes.f64("rope_attention_factor");
    const auto M = static_cast<double>(original_);
    scale_ = given > 0                        ? given
             : factor_ <= 1 || original_ == 1 ? 1
                                              : std::sqrt(1 + std::log(factor_) / std::log(M));
    return Status();
}

const double* Rotary::frequencies(int64_t position, double* room) const {
    if (scaling_ == Scaling::longrope && position >= original_) {
        return long_frequencies_.data();
    }
    if (scaling_ != Scaling::dynamic || position < original_) {
        return frequencies_.data();
    }
    const auto r = static_cast<double>(2 * pairs());
    const double growth =
        factor_ * static_cast<double>(position + 1) / static_cast<double>(original_) -
        (factor_ - 1);
    rope_frequencies(theta_ * std::pow(growth, r / (r - 2)), 2 * pairs(), room);
    return room;
}

void Rotary::angles(const RopeKernels& kernels, int64_t tokens, const int64_t* positions,
                    float* cosine, float* sine, double* room) const {
    const bool fixed = scaling_ != Scaling::dynamic && scaling_ != Scaling::longrope;
    const int64_t step = fixed ? tokens : 1;
    for (int64_t t = 0; t < tokens; t += step) {
        RopeAngles args{};
        args.tokens = step;
        args.pairs = pairs();
        args.frequencies = frequencies(positions[t], room);
        args.positions = positions + t;
        args.scale = static_cast<float>(scale_);
        args.cosine = cosine + t * pairs();
        args.sine = sine + t * pairs();
        args.stride = pairs();
        kernels.angles(args);
    }
}

void Rotary::angles_reference(int64_t tokens, const int64_t* positions, double* cosine,
                              double* sine, double* room) const {
    for (int64_t t = 0; t < tokens; ++t) {
        reference::rope_angles(1, pairs(), positions + t, frequencies(positions[t], room), scale_,
                               cosine + t * pairs(), sine + t * pairs());
    }
}

}  // namespace seqmix::mixers
