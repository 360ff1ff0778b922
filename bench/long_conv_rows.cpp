#include "long_conv_rows.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "parallel/executor.h"
#include "plain/fftw.h"
#include "primitives/long_conv/long_conv.h"
#include "primitives/long_conv/stream.h"
#include "support/rows.h"

namespace seqmix::bench {
namespace {

Array<float> numbers(int64_t count) {
    Array<float> values(count, {});
    uint32_t state = 12345;
    for (int64_t i = 0; i < count; ++i) {
        state = state * 1664525u + 1013904223u;
        values[i] = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
    }
    return values;
}

// L inputs and L taps of D channels, (L,D) as everywhere in the library.
class Convolution {
  public:
    Convolution(Isa isa, int64_t L, int64_t D)
        : L_(L),
          D_(D),
          executor_(arguments().threads),
          conv_({.channels = D, .taps = L, .length = L}, *SEQMIX_SELECT_KERNELS(isa, fft_kernels),
                {}),
          x_(numbers(L * D)),
          y_(numbers(L * D)),
          filter_(conv_.filter_size(), {}),
          part_((conv_.scratch_size() + 15) / 16 * 16),
          scratch_(part_ * static_cast<int64_t>(executor_.workers()), {}) {
        executor_.start();
        for (int64_t g = 0; g < conv_.groups(); ++g) {  // y_ holds the taps
            conv_.make_filter(g, y_.data() + conv_.first(g), D, nullptr, 0,
                              filter_.data() + conv_.filter_at(g), scratch_.data());
        }
        // The peer's own layout is (D,L).
        Array<float> k(L * D, {});
        plain::transpose(L, D, y_.data(), k.data());
        peer_ = plain::FftwConvolution::make(L, D, k.data(), arguments().threads);
        if (peer_ != nullptr) {
            peer_x_ = numbers(L * D);
            peer_y_ = numbers(L * D);
        }
    }
    void run() {
        executor_.run(
            static_cast<size_t>(conv_.groups()),
            [](void* self, size_t item, size_t worker) {
                static_cast<Convolution*>(self)->run_group(static_cast<int64_t>(item), worker);
            },
            this);
        benchmark::DoNotOptimize(y_.data());
    }
    bool has_peer() const { return peer_ != nullptr; }
    void run_peer() { peer_->run(peer_x_.data(), peer_y_.data()); }
    void run_peer_transposed() {
        plain::transpose(L_, D_, x_.data(), peer_x_.data());
        peer_->run(peer_x_.data(), peer_y_.data());
        plain::transpose(D_, L_, peer_y_.data(), y_.data());
    }

  private:
    void run_group(int64_t g, size_t worker) {
        LongConvCall call;
        call.tokens = L_;
        call.x = x_.data() + conv_.first(g);
        call.y = y_.data() + conv_.first(g);
        call.x_stride = call.y_stride = D_;
        conv_.run(g, call, filter_.data() + conv_.filter_at(g),
                  scratch_.data() + static_cast<int64_t>(worker) * part_);
    }

    int64_t L_, D_;
    Executor executor_;
    LongConv conv_;
    Array<float> x_, y_, filter_;
    int64_t part_;
    Array<float> scratch_, peer_x_, peer_y_;
    std::unique_ptr<plain::FftwConvolution> peer_;
};

// One row of a stream in blocks of 128, and all of its state.
class Blocks {
  public:
    static constexpr int64_t kBlock = 128;
    Blocks(Isa isa, int64_t K, int64_t D)
        : D_(D),
          k_(numbers(K * D)),
          conv_({.channels = D, .taps = K, .length = K}, k_.data(),
                *SEQMIX_SELECT_KERNELS(isa, fft_kernels),
                *SEQMIX_SELECT_KERNELS(isa, long_conv_kernels), {}),
          x_(numbers(kBlock * D)),
          y_(kBlock * D, {}),
          ring_(conv_.sizes().ring_rows * D, {}),
          cache_(conv_.sizes().cache_size, {}),
          windows_(conv_.sizes().windows * conv_.sizes().window_size, {}),
          scratch_(conv_.scratch_size(), {}) {
        ring_.zero();
        cache_.zero();
        windows_.zero();
        clock_ = conv_.sizes().ring_rows;  // in the middle of a stream
        run();
    }
    void run() {
        LongConvRowCall call;
        call.tokens = kBlock;
        call.x = x_.data();
        call.y = y_.data();
        call.x_stride = call.y_stride = call.ring_stride = D_;
        call.ring = ring_.data();
        call.clock = clock_;
        call.cache = cache_.data();
        call.windows = windows_.data();
        call.window_stride = conv_.sizes().window_size;
        call.window_rows = conv_.sizes().windows;
        for (int64_t g = 0; g < conv_.groups(); ++g) conv_.run(g, call, scratch_.data());
        clock_ = conv_.sizes().next_clock(clock_, kBlock);
        benchmark::DoNotOptimize(y_.data());
    }
    // The worst block over the median, of four large blocks; a block's time is the least of five passes.
    double worst_over_median() {
        const int64_t period = 4 * conv_.sizes().large / kBlock;
        std::vector<double> best(static_cast<size_t>(period), 1e30);
        while (clock_ % conv_.sizes().large != 0) run();
        for (int pass = 0; pass < 5; ++pass) {
            for (double& block : best) {
                const auto start = std::chrono::steady_clock::now();
                run();
                const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
                block = std::min(block, took.count());
            }
        }
        std::sort(best.begin(), best.end());
        return best.back() / best[best.size() / 2];
    }

  private:
    int64_t D_, clock_ = 0;
    Array<float> k_;
    LongConvStream conv_;
    Array<float> x_, y_, ring_, cache_, windows_, scratch_;
};

}  // namespace

void add_long_convs(const std::string& isa, Isa level) {
    const struct {
        int64_t L, D;
    } shapes[] = {{1024, 768},  {4096, 768},  {16384, 768},
                  {65536, 768}, {262144, 64}, {1048576, 64}};
    for (const auto& [L, D] : shapes) {
        const auto points = static_cast<double>(2 * L * D);
        Row row;
        row.name = "long_conv/" + isa + "/whole/L" + std::to_string(L) + "_D" + std::to_string(D);
        row.isa = isa;
        // Two real transforms of 2 L points and 6 L for the product.
        row.work = {.flops = 5 * points * std::log2(static_cast<double>(2 * L)) + 3 * points,
                    .bytes = 4 * points};
        row.tokens = static_cast<double>(L * D);  // samples
        row.make = [level, L = L, D = D] {
            const auto conv = std::make_shared<Convolution>(level, L, D);
            Job job{.run = [conv] { conv->run(); }};
            if (conv->has_peer()) {
                job.peer = [conv] { conv->run_peer(); };
                job.peer_transposed = [conv] { conv->run_peer_transposed(); };
            }
            return job;
        };
        add_row(std::move(row));
    }
}

void add_long_conv_streams(const std::string& isa, Isa level) {
    for (const int64_t D : {1, 16}) {
        Row row;
        row.name = "long_conv/" + isa + "/stream/K131072_T128_D" + std::to_string(D);
        row.isa = isa;
        // Direct products, partitions of both levels (4 multiply-adds a bin) and their transforms.
        const double products = 128 * 128 + 4.0 * 31 * 129 + 4.0 * 62 * 2049 / 16;
        row.work = {.flops = static_cast<double>(D) * 2 * products,
                    .bytes = static_cast<double>(D) * 8 * 62 * 2049 * 2 / 16};
        row.tokens = static_cast<double>(128 * D);
        row.make = [level, D] {
            const auto blocks = std::make_shared<Blocks>(level, int64_t{1} << 17, D);
            return Job{.run = [blocks] { blocks->run(); },
                       .worst_over_median = [blocks] { return blocks->worst_over_median(); }};
        };
        add_row(std::move(row));
    }
}

}  // namespace seqmix::bench
