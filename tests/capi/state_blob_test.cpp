// States as blobs: round trips, other instruction sets, other weights, other layers, damage.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "../support/golden_case.h"
#include "../support/guarded.h"
#include "../support/model.h"
#include "../support/shared_data.h"
#include "../support/small_mamba.h"

namespace {

using namespace seqmix_test;
using testing::HasSubstr;

uint32_t crc32(const std::string& bytes) {
    uint32_t crc = 0xffffffffu;
    for (const char byte : bytes) {
        crc ^= static_cast<unsigned char>(byte);
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc & 1) != 0 ? 0xedb88320u ^ (crc >> 1) : crc >> 1;
        }
    }
    return crc ^ 0xffffffffu;
}

void put(std::string& bytes, size_t at, uint64_t value, size_t size) {
    for (size_t i = 0; i < size; ++i) {
        bytes[at + i] = static_cast<char>(value >> (8 * i) & 0xff);
    }
}

// Damage that whoever made it has summed up again: the length and the checksum are right.
std::string sealed(std::string bytes) {
    put(bytes, 16, bytes.size(), 8);
    put(bytes, bytes.size() - 4, crc32(bytes.substr(0, bytes.size() - 4)), 4);
    return bytes;
}

class BlobTest : public testing::Test {
  protected:
    SmallMamba mamba_;

    State fed(int64_t batch = 2, int64_t tokens = 5) {
        State state = make_state(mamba_.layer, batch);
        mamba_(state, mamba_.input(batch, tokens));
        return state;
    }
    static seqmix_status try_load(const Layer& layer, const std::string& blob,
                                  const seqmix_state_options* options = nullptr) {
        seqmix::test::Guarded<char> bytes(blob.size());
        std::memcpy(bytes.data(), blob.data(), blob.size());
        State state;
        const seqmix_status status =
            seqmix_state_load(layer.get(), bytes.data(), bytes.size(), options, state.out());
        EXPECT_EQ(static_cast<bool>(state), status == SEQMIX_OK);
        return status;
    }
};

TEST_F(BlobTest, RoundTripIsExact) {
    const State state = fed();
    const std::string blob = save(state);
    const State loaded = load(mamba_.layer, blob);
    EXPECT_EQ(state_bits(mamba_.layer, loaded, 2), state_bits(mamba_.layer, state, 2));
    EXPECT_EQ(save(loaded), blob);
    const Tensor x = mamba_.input(2, 4, 3);
    EXPECT_TRUE(same_bits(mamba_(loaded, x), mamba_(state, x)));
    EXPECT_EQ(save(loaded), save(state));
}

TEST_F(BlobTest, TwoCallForm) {
    const State state = fed();
    size_t needed = 0;
    EXPECT_STATUS(SEQMIX_ERR_BUFFER_TOO_SMALL, seqmix_state_save(state.get(), nullptr, 0, &needed));
    ASSERT_GT(needed, 0u);
    std::string buffer(needed + 8, '\x5a');
    size_t again = 0;
    EXPECT_STATUS(SEQMIX_ERR_BUFFER_TOO_SMALL,
                  seqmix_state_save(state.get(), buffer.data(), needed - 1, &again));
    EXPECT_EQ(again, needed);
    EXPECT_EQ(buffer, std::string(needed + 8, '\x5a'));
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_save(state.get(), buffer.data(), buffer.size(), &again));
    EXPECT_EQ(again, needed);
    EXPECT_EQ(buffer.substr(needed), std::string(8, '\x5a'));
    EXPECT_STATUS(SEQMIX_OK, try_load(mamba_.layer, buffer.substr(0, needed)));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_state_save(state.get(), buffer.data(), buffer.size(), nullptr));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_state_save(nullptr, buffer.data(), buffer.size(), &again));
}

TEST_F(BlobTest, SavingChangesNothing) {
    const State state = fed();
    const Bits before = state_bits(mamba_.layer, state, 2);
    EXPECT_EQ(save(state), save(state));
    EXPECT_EQ(state_bits(mamba_.layer, state, 2), before);
}

TEST_F(BlobTest, EveryLevelReadsEveryLevelsBlob) {
    const Tensor x = mamba_.input(2, 4, 3);
    for (const std::string& writer : levels()) {
        const SmallMamba from(writer.c_str());
        const State state = make_state(from.layer, 2);
        from(state, from.input(2, 5));
        const std::string blob = save(state);
        const Values expected = from(state, x).values();
        for (const std::string& reader : levels()) {
            SCOPED_TRACE(writer + " to " + reader);
            const SmallMamba to(reader.c_str());
            const State loaded = load(to.layer, blob);
            EXPECT_EQ(save(loaded), blob);
            EXPECT_EQ(position(loaded, 1), 5);
            const Tensor y = to(loaded, x);
            EXPECT_TRUE(close_to(y.values(), expected, kF32Tolerance));
            if (writer == reader && !is_reference(writer)) {
                EXPECT_EQ(y.values(), expected);
            }
        }
    }
}

TEST_F(BlobTest, BatchIsAsSaved) {
    const std::string blob = save(fed(3));
    seqmix_state_options options = {};
    options.struct_size = sizeof(options);
    options.batch = 3;
    EXPECT_STATUS(SEQMIX_OK, try_load(mamba_.layer, blob, &options));
    options.batch = 2;
    EXPECT_STATUS(SEQMIX_ERR_STATE_MISMATCH, try_load(mamba_.layer, blob, &options));
    EXPECT_STATUS(SEQMIX_OK, try_load(mamba_.layer, blob, nullptr));
}

TEST_F(BlobTest, OtherWeightsOnlyWithTheFlag) {
    const State state = fed();
    const std::string blob = save(state);
    const SmallMamba tuned(nullptr, 8);
    EXPECT_ERROR(SEQMIX_ERR_STATE_MISMATCH, try_load(tuned.layer, blob), HasSubstr("weights"));
    seqmix_state_options options = {};
    options.struct_size = sizeof(options);
    options.flags = SEQMIX_STATE_ACCEPT_OTHER_WEIGHTS;
    EXPECT_STATUS(SEQMIX_OK, try_load(tuned.layer, blob, &options));
    const State accepted = load(tuned.layer, blob, SEQMIX_STATE_ACCEPT_OTHER_WEIGHTS);
    EXPECT_EQ(state_bits(tuned.layer, accepted, 2), state_bits(mamba_.layer, state, 2));
    options.flags = 2;  // of a later version
    const seqmix_status unknown = try_load(mamba_.layer, blob, &options);
    EXPECT_TRUE(unknown == SEQMIX_ERR_VERSION || unknown == SEQMIX_ERR_INVALID_ARGUMENT)
        << seqmix_status_name(unknown);
}

// conv1d.weight may come as (E,1,K) or as (E,K).
TEST_F(BlobTest, AxesOfSizeOneMakeNoOtherWeights) {
    Weights flat = init_weights(mamba_.planned, 7);
    Tensor& taps = flat["conv1d.weight"];
    ASSERT_EQ(taps.shape(), (Shape{SmallMamba::kE, 1, SmallMamba::kK}));
    taps = taps.reshape({SmallMamba::kE, SmallMamba::kK});
    EXPECT_STATUS(SEQMIX_OK, try_load(bind(mamba_.planned, flat), save(fed())));
}

TEST_F(BlobTest, ASingleOtherWeightIsSeen) {
    const std::string blob = save(fed());
    for (auto& [name, tensor] : mamba_.weights.tensors) {
        const double value = tensor.values().front();
        Shape first(tensor.shape().size(), 0);
        tensor.set(first, value + 1);
        const Layer other = bind(mamba_.planned, mamba_.weights);
        EXPECT_STATUS(SEQMIX_ERR_STATE_MISMATCH, try_load(other, blob)) << name;
        tensor.set(first, value);
    }
    const Layer equal = bind(mamba_.planned, mamba_.weights);
    EXPECT_STATUS(SEQMIX_OK, try_load(equal, blob));
}

TEST_F(BlobTest, BorrowedAndCopiedWeightsAreTheSameWeights) {
    const State state = fed();
    const Layer borrowing = bind(mamba_.planned, mamba_.weights, SEQMIX_BIND_BORROW);
    const State loaded = load(borrowing, save(state));
    const Tensor x = mamba_.input(2, 4, 3);
    EXPECT_TRUE(same_bits(run(borrowing, loaded, x), mamba_(state, x)));
}

TEST_F(BlobTest, OtherAttributesAndOtherTypes) {
    const std::string blob = save(fed());
    const SmallMamba wider(make_context(), 7, SmallMamba::config().set("d_state", 8));
    EXPECT_ERROR(SEQMIX_ERR_STATE_MISMATCH, try_load(wider.layer, blob),
                 HasSubstr("the blob is of a 'mamba' with other attributes"));
    // No flag makes up for another configuration.
    seqmix_state_options options = {};
    options.struct_size = sizeof(options);
    options.flags = SEQMIX_STATE_ACCEPT_OTHER_WEIGHTS;
    EXPECT_STATUS(SEQMIX_ERR_STATE_MISMATCH, try_load(wider.layer, blob, &options));
    // The same sizes, another equation.
    const SmallMamba normed(make_context(), 7, SmallMamba::config().set("inner_norm", "rms"));
    EXPECT_STATUS(SEQMIX_ERR_STATE_MISMATCH, try_load(normed.layer, blob, &options));

    const Layer model = open_model(mamba_.context, source_dir() + "/models/shakespeare");
    EXPECT_ERROR(SEQMIX_ERR_STATE_MISMATCH, try_load(model, blob),
                 HasSubstr("the blob is of a 'mamba', expected 'stack'"));
    EXPECT_STATUS(SEQMIX_ERR_STATE_MISMATCH, try_load(mamba_.layer, save(make_state(model))));
}

TEST_F(BlobTest, EveryTruncationIsRefused) {
    const std::string blob = save(fed());
    for (size_t n = 0; n < blob.size(); ++n) {
        const seqmix_status status = try_load(mamba_.layer, blob.substr(0, n));
        ASSERT_EQ(status, SEQMIX_ERR_BAD_FORMAT)
            << "the first " << n << " bytes: " << seqmix_status_name(status);
        ASSERT_STRNE(seqmix_last_error(), "");
    }
    EXPECT_STATUS(SEQMIX_ERR_BAD_FORMAT, try_load(mamba_.layer, blob + "x"));
}

TEST_F(BlobTest, EveryFlippedBitIsRefused) {
    const std::string blob = save(fed());
    for (size_t bit = 0; bit < 8 * blob.size(); ++bit) {
        std::string damaged = blob;
        damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
        const seqmix_status status = try_load(mamba_.layer, damaged);
        ASSERT_TRUE(status == SEQMIX_ERR_BAD_FORMAT || status == SEQMIX_ERR_VERSION)
            << "bit " << bit << " of " << 8 * blob.size() << ": " << seqmix_status_name(status);
    }
}

TEST_F(BlobTest, EverySealedTruncationIsRefused) {
    const std::string blob = save(fed(1));
    ASSERT_EQ(sealed(blob), blob);
    for (size_t n = 60; n < blob.size(); ++n) {
        ASSERT_EQ(try_load(mamba_.layer, sealed(blob.substr(0, n))), SEQMIX_ERR_BAD_FORMAT)
            << "the first " << n << " bytes";
        // Bytes missing elsewhere move what follows.
        const size_t cut = blob.size() - n;
        const seqmix_status status =
            try_load(mamba_.layer, sealed(blob.substr(0, 56) + blob.substr(56 + cut)));
        ASSERT_TRUE(status == SEQMIX_ERR_BAD_FORMAT || status == SEQMIX_ERR_STATE_MISMATCH)
            << cut << " bytes less: " << seqmix_status_name(status);
    }
}

TEST_F(BlobTest, CountsAndPositionsAreChecked) {
    const std::string blob = save(fed(1));
    const auto changed = [&](size_t at, uint64_t value, size_t size) {
        std::string bytes = blob;
        put(bytes, at, value, size);
        return sealed(bytes);
    };
    const size_t position = 56 + std::string("mamba").size() + 4;
    ASSERT_EQ(blob[position], 5);
    EXPECT_STATUS(SEQMIX_OK, try_load(mamba_.layer, changed(position, 6, 8)));
    for (const uint64_t value : {uint64_t{INT64_MAX}, uint64_t{INT64_MAX} / 2 + 1, UINT64_MAX}) {
        EXPECT_ERROR(SEQMIX_ERR_BAD_FORMAT, try_load(mamba_.layer, changed(position, value, 8)),
                     HasSubstr("position"));
    }
    // The largest position that is taken can be gone on from.
    const State far = load(mamba_.layer, changed(position, uint64_t{INT64_MAX} / 2, 8));
    mamba_(far, mamba_.input(1, 3));
    EXPECT_EQ(seqmix_test::position(far), INT64_MAX / 2 + 3);
    for (const uint64_t layers : {uint64_t{0}, uint64_t{2}, UINT64_MAX}) {
        EXPECT_ERROR(SEQMIX_ERR_BAD_FORMAT, try_load(mamba_.layer, changed(48, layers, 4)),
                     HasSubstr("layers"));
    }
}

TEST_F(BlobTest, NotABlob) {
    EXPECT_STATUS(SEQMIX_ERR_BAD_FORMAT, try_load(mamba_.layer, ""));
    EXPECT_STATUS(SEQMIX_ERR_BAD_FORMAT, try_load(mamba_.layer, "hello"));
    EXPECT_STATUS(SEQMIX_ERR_BAD_FORMAT, try_load(mamba_.layer, std::string(4096, '\0')));
    EXPECT_STATUS(SEQMIX_ERR_BAD_FORMAT, try_load(mamba_.layer, std::string(4096, '\xff')));
    State state;
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_state_load(mamba_.layer.get(), nullptr, 10, nullptr, state.out()));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_state_load(nullptr, "x", 1, nullptr, state.out()));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_state_load(mamba_.layer.get(), "x", 1, nullptr, nullptr));
}

TEST_F(BlobTest, OfAWholeModelContinuesTheText) {
    const Layer model = open_model(mamba_.context, source_dir() + "/models/shakespeare");
    const State state = make_state(model);
    run(model, state, Tensor::i64({'R', 'O', 'M', 'E', 'O', ':'}, {1, 6}), "logits_last");
    const std::string blob = save(state);
    // A second opening of the same file has the same weights.
    const Layer again = open_model(make_context(), source_dir() + "/models/shakespeare");
    const State loaded = load(again, blob);
    EXPECT_EQ(position(loaded), 6);
    const Tensor next = Tensor::i64({'\n', 'W'}, {1, 2});
    EXPECT_TRUE(same_bits(run(again, loaded, next, "logits"), run(model, state, next, "logits")));
    EXPECT_EQ(save(loaded), save(state));
}

TEST_F(BlobTest, ShardsAreTheSameWeights) {
    SEQMIX_NEED_SHARED("golden/mamba-hf-a-base");
    SEQMIX_NEED_SHARED("golden/mamba-hf-d-sharded");
    const Layer whole = open_model(mamba_.context, shared_path("golden/mamba-hf-a-base"));
    const Layer sharded = open_model(mamba_.context, shared_path("golden/mamba-hf-d-sharded"));
    const State state = make_state(whole);
    run(whole, state, Tensor::i64({1, 2, 3}, {1, 3}), "logits");
    EXPECT_STATUS(SEQMIX_OK, try_load(sharded, save(state)));
}

}  // namespace
