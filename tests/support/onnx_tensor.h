// Just enough protobuf to read ONNX's stored node tests: one TensorProto per .pb file, and the
// single node of a model.onnx with its attributes and names. Errors are exceptions.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace seqmix_test {

struct OnnxTensor {
    std::string name;
    int32_t data_type =
        0;  // TensorProto.DataType: 1 float, 6 int32, 7 int64, 9 bool, 10 float16, 11 double
    std::vector<int64_t> shape;
    std::vector<double> values;  // C order, widened
};

struct OnnxAttribute {
    int32_t type = 0;  // AttributeProto.AttributeType: 1 float, 2 int, 3 string, 6 floats, 7 ints
    double real = 0;
    int64_t integer = 0;
    std::string text;
    std::vector<double> reals;
    std::vector<int64_t> integers;
};

struct OnnxNode {
    std::string op_type;
    std::string domain;
    std::vector<std::string> inputs;  // "" where an optional input is left out
    std::vector<std::string> outputs;
    std::map<std::string, OnnxAttribute> attributes;
};

struct OnnxModel {
    std::vector<OnnxNode> nodes;
    std::vector<std::string> graph_inputs;  // in the order of input_0.pb, input_1.pb ...
    std::vector<std::string> graph_outputs;
    int64_t opset = 0;  // of the default domain
};

OnnxTensor read_onnx_tensor(const std::string& path);
OnnxModel read_onnx_model(const std::string& path);

}  // namespace seqmix_test
