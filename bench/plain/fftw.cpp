#include "plain/fftw.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace seqmix::bench::plain {
namespace {

using Plan = void*;
constexpr unsigned kMeasure = 0;

// The functions of libfftw3f that are used, as its manual declares them; complex numbers are pairs.
struct Fftw {
    Plan (*plan_r2c)(int n, float* in, float* out, unsigned flags) = nullptr;
    Plan (*plan_c2r)(int n, float* in, float* out, unsigned flags) = nullptr;
    void (*execute_r2c)(Plan, float* in, float* out) = nullptr;
    void (*execute_c2r)(Plan, float* in, float* out) = nullptr;
    void (*destroy)(Plan) = nullptr;
    void* (*allocate)(size_t) = nullptr;
    void (*release)(void*) = nullptr;
    bool there = false;
};

template <typename F>
bool find(void* library, const char* name, F* function) {
    *function = reinterpret_cast<F>(dlsym(library, name));
    return *function != nullptr;
}

const Fftw& fftw() {
    static const Fftw loaded = [] {
        Fftw f;
        const char* path = std::getenv("SEQMIX_FFTW");
        void* library =
            path != nullptr && *path != 0 ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
        f.there = library != nullptr && find(library, "fftwf_plan_dft_r2c_1d", &f.plan_r2c) &&
                  find(library, "fftwf_plan_dft_c2r_1d", &f.plan_c2r) &&
                  find(library, "fftwf_execute_dft_r2c", &f.execute_r2c) &&
                  find(library, "fftwf_execute_dft_c2r", &f.execute_c2r) &&
                  find(library, "fftwf_destroy_plan", &f.destroy) &&
                  find(library, "fftwf_malloc", &f.allocate) &&
                  find(library, "fftwf_free", &f.release);
        return f;
    }();
    return loaded;
}

struct Buffer {
    float* data;
    explicit Buffer(int64_t count)
        : data(static_cast<float*>(fftw().allocate(static_cast<size_t>(count) * sizeof(float)))) {}
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { fftw().release(data); }
};

class Convolution : public FftwConvolution {
  public:
    Convolution(int64_t tokens, int64_t channels, const float* k, int threads)
        : T_(tokens), D_(channels), bins_(2 * (tokens + 1)), filter_(channels * bins_) {
        for (int i = 0; i < threads; ++i) {
            time_.push_back(std::make_unique<Buffer>(2 * T_));
            frequency_.push_back(std::make_unique<Buffer>(bins_));
        }
        forward_ = fftw().plan_r2c(static_cast<int>(2 * T_), time_[0]->data, frequency_[0]->data,
                                   kMeasure);
        back_ = fftw().plan_c2r(static_cast<int>(2 * T_), frequency_[0]->data, time_[0]->data,
                                kMeasure);
        const float scale = 1.0f / static_cast<float>(2 * T_);
        for (int64_t d = 0; d < D_; ++d) {
            transform(k + d * T_, 0);
            for (int64_t i = 0; i < bins_; ++i) {
                filter_.data[d * bins_ + i] = frequency_[0]->data[i] * scale;
            }
        }
    }
    ~Convolution() override {
        fftw().destroy(forward_);
        fftw().destroy(back_);
    }
    void run(const float* x, float* y) override {
        std::vector<std::thread> others;
        const auto count = static_cast<int64_t>(time_.size());
        for (int64_t i = 1; i < count; ++i) {
            others.emplace_back([=, this] { part(x, y, i, count); });
        }
        part(x, y, 0, count);
        for (std::thread& thread : others) thread.join();
    }

  private:
    void transform(const float* x, size_t worker) {
        float* time = time_[worker]->data;
        std::memcpy(time, x, static_cast<size_t>(T_) * sizeof(float));
        std::memset(time + T_, 0, static_cast<size_t>(T_) * sizeof(float));
        fftw().execute_r2c(forward_, time, frequency_[worker]->data);
    }
    void part(const float* x, float* y, int64_t worker, int64_t count) {
        const auto w = static_cast<size_t>(worker);
        for (int64_t d = D_ * worker / count; d < D_ * (worker + 1) / count; ++d) {
            transform(x + d * T_, w);
            float* __restrict__ z = frequency_[w]->data;
            const float* __restrict__ h = filter_.data + d * bins_;
            for (int64_t i = 0; i < bins_; i += 2) {
                const float re = z[i] * h[i] - z[i + 1] * h[i + 1];
                z[i + 1] = z[i] * h[i + 1] + z[i + 1] * h[i];
                z[i] = re;
            }
            fftw().execute_c2r(back_, z, time_[w]->data);
            std::memcpy(y + d * T_, time_[w]->data, static_cast<size_t>(T_) * sizeof(float));
        }
    }

    int64_t T_, D_, bins_;
    Buffer filter_;
    std::vector<std::unique_ptr<Buffer>> time_, frequency_;
    Plan forward_ = nullptr, back_ = nullptr;
};

}  // namespace

std::unique_ptr<FftwConvolution> FftwConvolution::make(int64_t tokens, int64_t channels,
                                                       const float* k, int threads) {
    if (!fftw().there) return nullptr;
    return std::make_unique<Convolution>(tokens, channels, k, threads);
}

void transpose(int64_t rows, int64_t columns, const float* from, float* to) {
    constexpr int64_t kTile = 16;
    for (int64_t r = 0; r < rows; r += kTile) {
        for (int64_t c = 0; c < columns; c += kTile) {
            for (int64_t i = r; i < std::min(r + kTile, rows); ++i) {
                for (int64_t j = c; j < std::min(c + kTile, columns); ++j) {
                    to[j * rows + i] = from[i * columns + j];
                }
            }
        }
    }
}

}  // namespace seqmix::bench::plain
