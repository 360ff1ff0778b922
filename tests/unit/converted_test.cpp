// Files as `convert` writes them, read when they are damaged or made by somebody else.
#include "models/formats/converted.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "../support/capi.h"
#include "../support/shared_data.h"
#include "checkpoint_files.h"
#include "models/formats/checkpoint.h"
#include "models/formats/json.h"

namespace {

using namespace seqmix_test;
using seqmix::Checkpoint;
using seqmix::Coding;
using seqmix::WeightFormat;
using testing::AllOf;
using testing::HasSubstr;

// A file of the members `tensors` and `metadata` of a header, and their bytes.
seqmix::Status read(const std::string& tensors, const std::string& metadata,
                    const std::string& data, Checkpoint& out) {
    static std::string bytes;  // outlives `out`
    bytes = safetensors_bytes("{\"__metadata__\":{" + metadata + "}," + tensors + "}", 0) + data;
    return seqmix::open_checkpoint_in_memory(bytes.data(), bytes.size(), {}, out);
}

std::string member(const std::string& name, const std::string& dtype, const std::string& shape,
                   int begin, int end) {
    return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
           ",\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]}";
}

std::string floats(std::initializer_list<float> values) {
    std::string bytes;
    for (const float value : values) {
        char raw[4];
        std::memcpy(raw, &value, 4);
        bytes.append(raw, 4);
    }
    return bytes;
}

const std::string kMatrix = member("w", "I8", "[2,3]", 0, 6);
const std::string kQ("\x01\x02\xfd\x7f\x80\x00", 6);

TEST(Converted, PairsAMatrixAndItsFactors) {
    Checkpoint file;
    // Factors that begin at no multiple of 4, and a NaN, which makes its row NaN.
    const float nan = std::numeric_limits<float>::quiet_NaN();
    ASSERT_TRUE(read(kMatrix + "," + member("w_scale", "F32", "[2,1]", 6, 14), "",
                     kQ + floats({0.5f, nan}), file)
                    .ok());
    ASSERT_EQ(file.tensors.size(), 1u);
    const seqmix::StoredTensor& tensor = file.tensors.at("w");
    EXPECT_EQ(tensor.dtype, seqmix::DType::f32);
    EXPECT_EQ(tensor.coding, Coding::i8_rows);
    EXPECT_EQ(tensor.bytes, 6u);
    const seqmix::Coded coded{tensor.data, tensor.dtype, tensor.coding, tensor.factors, 3};
    float values[6];
    coded.read(0, 6, values);
    EXPECT_EQ(values[0], 0.5f);
    EXPECT_EQ(values[2], -1.5f);
    for (int i = 3; i < 6; ++i) EXPECT_TRUE(std::isnan(values[i]));
    double part[3];
    coded.from(3).read(0, 1, part);
    EXPECT_TRUE(std::isnan(part[0]));
    coded.read(1, 2, part);
    EXPECT_EQ(part[1], -1.5);
}

TEST(Converted, RefusesFactorsThatDoNotFit) {
    Checkpoint file;
    const struct {
        std::string scale;
        const char* got;
    } rows[] = {
        {member("w_scale", "F32", "[2]", 6, 14), "(2) F32"},
        {member("w_scale", "F32", "[1,2]", 6, 14), "(1,2) F32"},
        {member("w_scale", "F32", "[3,1]", 6, 18), "(3,1) F32"},
        {member("w_scale", "F32", "[2,1,1]", 6, 14), "(2,1,1) F32"},
        {member("w_scale", "BF16", "[2,1]", 6, 10), "(2,1) BF16"},
        {member("w_scale", "F64", "[2,1]", 6, 22), "(2,1) F64"},
        {member("w_scale", "I8", "[2,1]", 6, 8), "(2,1) I8"},
    };
    for (const auto& row : rows) {
        const size_t size = row.scale.find(",14]") != std::string::npos   ? 8
                            : row.scale.find(",18]") != std::string::npos ? 12
                            : row.scale.find(",22]") != std::string::npos ? 16
                            : row.scale.find(",10]") != std::string::npos ? 4
                                                                          : 2;
        const seqmix::Status status =
            read(kMatrix + "," + row.scale, "", kQ + std::string(size, '\0'), file);
        EXPECT_EQ(status.code(), SEQMIX_ERR_BAD_FORMAT) << row.got;
        EXPECT_THAT(seqmix::error_text::get(),
                    AllOf(HasSubstr("'w_scale'"), HasSubstr(row.got), HasSubstr("(2,1) F32")));
    }
    // Without factors it is a tensor of integers, which no weight is.
    ASSERT_TRUE(read(kMatrix, "", kQ, file).ok());
    EXPECT_EQ(file.tensors.at("w").dtype, seqmix::DType::i8);
    // And a matrix of floats has nothing to do with a neighbour's name.
    ASSERT_TRUE(
        read(member("w", "F32", "[1,1]", 0, 4) + "," + member("w_scale", "F32", "[1,1]", 4, 8), "",
             floats({1, 2}), file)
            .ok());
    EXPECT_EQ(file.tensors.size(), 2u);
}

TEST(Converted, TurnedMatricesAreShownAsTheOriginalHasThem) {
    Checkpoint file;
    const std::string matrix = member("w", "F32", "[2,3]", 0, 24);
    const std::string data(24, '\0');
    ASSERT_TRUE(read(matrix, R"("seqmix.turned":"[\"w\"]")", data, file).ok());
    EXPECT_EQ(file.tensors.at("w").shape, (std::vector<int64_t>{3, 2}));
    EXPECT_TRUE(file.tensors.at("w").turned);
    for (const char* text : {R"([\"w\",\"w\"])", R"([\"v\"])", "[1]", "{}", "[[", ""}) {
        const seqmix::Status status =
            read(matrix, "\"seqmix.turned\":\"" + std::string(text) + "\"", data, file);
        EXPECT_EQ(status.code(), SEQMIX_ERR_BAD_FORMAT) << text;
        EXPECT_THAT(seqmix::error_text::get(), HasSubstr("seqmix.turned"));
    }
    const seqmix::Status status =
        read(member("w", "F32", "[6]", 0, 24), R"("seqmix.turned":"[\"w\"]")", data, file);
    EXPECT_EQ(status.code(), SEQMIX_ERR_BAD_FORMAT);
}

TEST(Converted, MetadataSayTheFormatAndTheModel) {
    Checkpoint file;
    const std::string tensor = member("w", "F32", "[1]", 0, 4), data(4, '\0');
    ASSERT_TRUE(
        read(tensor, R"("seqmix.weights":"bf16","seqmix.config":"{\"a\":1.5}")", data, file).ok());
    EXPECT_EQ(file.matrices, WeightFormat::bf16);
    ASSERT_NE(file.config, nullptr);
    EXPECT_TRUE(file.config_inside);
    EXPECT_NE(seqmix::find_as<double>(*file.config, "a"), nullptr);
    for (const char* metadata :
         {R"("seqmix.weights":"int4")", R"("seqmix.weights":"stored")", R"("seqmix.weights":"")",
          R"("seqmix.config":"[]")", R"("seqmix.config":"{")"}) {
        EXPECT_EQ(read(tensor, metadata, data, file).code(), SEQMIX_ERR_BAD_FORMAT) << metadata;
    }
    EXPECT_EQ(file.matrices, WeightFormat::bf16);  // as it was
}

// What is written is read again, key by key.
TEST(Converted, ConfigurationsGoThroughMetadata) {
    seqmix::Json config;
    ASSERT_TRUE(
        seqmix::parse_json(R"({"a":[1,-2,3.25,true,null,"x\"y"],"b":{"c":18446744073709551615},
                                       "d":1e-05,"e":9.999999747378752e-06})",
                           "test", seqmix::JsonNumbers::finite, config)
            .ok());
    const seqmix::Metadata metadata = seqmix::converted_metadata(
        {{"kept", "1"}, {"seqmix.turned", "old"}}, WeightFormat::int8, {}, &config);
    EXPECT_EQ(metadata.at("kept"), "1");
    EXPECT_EQ(metadata.at("seqmix.weights"), "int8");
    EXPECT_EQ(metadata.count("seqmix.turned"), 0u);
    seqmix::Json again;
    ASSERT_TRUE(
        seqmix::parse_json(metadata.at("seqmix.config"), "test", seqmix::JsonNumbers::finite, again)
            .ok());
    EXPECT_EQ(again, config);
}

// A row as int8: the largest becomes 127, ties go to even, and rows without numbers say so.
TEST(RowFactor, RoundsToTheNearest) {
    const float row[] = {127, -127, 0.5f, 1.5f, 2.5f, -0.5f, -3.5f, 63.49f};
    const seqmix::RowFactor by = seqmix::row_factor(row, 8);
    EXPECT_EQ(by.factor, 1);
    const int want[] = {127, -127, 0, 2, 2, 0, -4, 63};
    for (int i = 0; i < 8; ++i) EXPECT_EQ(seqmix::to_int8(row[i], by), want[i]) << i;
    const float none[] = {0, 1e-38f};
    EXPECT_EQ(seqmix::row_factor(none, 2).factor, 0);
    EXPECT_EQ(seqmix::to_int8(1e-38f, seqmix::row_factor(none, 2)), 0);
    const float bad[] = {1, std::numeric_limits<float>::infinity()};
    EXPECT_TRUE(std::isnan(seqmix::row_factor(bad, 2).factor));
    EXPECT_EQ(seqmix::to_int8(bad[1], seqmix::row_factor(bad, 2)), 0);
}

}  // namespace
