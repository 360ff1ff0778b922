#include "onnx_tensor.h"

#include <cstring>
#include <stdexcept>

#include "safetensors_file.h"

namespace seqmix_test {

namespace {

// A protobuf message as a run of bytes. next() steps to the next field.
class Message {
  public:
    Message(const unsigned char* begin, const unsigned char* end) : at_(begin), end_(end) {}

    bool next() {
        if (at_ == end_) {
            return false;
        }
        const uint64_t key = varint();
        field = static_cast<int>(key >> 3);
        wire = static_cast<int>(key & 7);
        switch (wire) {
            case 0: number = varint(); break;
            case 1: bytes(8); break;
            case 2: bytes(varint()); break;
            case 5: bytes(4); break;
            default: throw std::runtime_error("protobuf: wire type is unknown");
        }
        return true;
    }

    std::string text() const { return {reinterpret_cast<const char*>(data), size}; }
    Message message() const { return {data, data + size}; }
    float real32() const {
        float value;
        require(4);
        std::memcpy(&value, data, sizeof(value));
        return value;
    }
    // A repeated int64: one of them, or packed.
    void append(std::vector<int64_t>& list) const {
        if (wire == 0) {
            list.push_back(static_cast<int64_t>(number));
            return;
        }
        for (Message packed = message(); packed.at_ != packed.end_;) {
            list.push_back(static_cast<int64_t>(packed.varint()));
        }
    }
    // A repeated float or double: one of them, or packed.
    template <class T>
    void append_reals(std::vector<double>& list) const {
        for (size_t i = 0; i + sizeof(T) <= size; i += sizeof(T)) {
            T value;
            std::memcpy(&value, data + i, sizeof(T));
            list.push_back(value);
        }
    }

    int field = 0;
    int wire = 0;
    uint64_t number = 0;                  // wire type 0
    const unsigned char* data = nullptr;  // other wire types
    size_t size = 0;

  private:
    uint64_t varint() {
        uint64_t value = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            if (at_ == end_) {
                break;
            }
            const unsigned char byte = *at_++;
            value |= static_cast<uint64_t>(byte & 0x7f) << shift;
            if ((byte & 0x80) == 0) {
                return value;
            }
        }
        throw std::runtime_error("protobuf: a varint is cut off");
    }
    void bytes(uint64_t n) {
        if (n > static_cast<uint64_t>(end_ - at_)) {
            throw std::runtime_error("protobuf: a field passes the end");
        }
        data = at_;
        size = static_cast<size_t>(n);
        at_ += n;
    }
    void require(size_t n) const {
        if (size != n) {
            throw std::runtime_error("protobuf: a field has another type");
        }
    }

    const unsigned char* at_;
    const unsigned char* end_;
};

OnnxTensor parse_tensor(Message m) {
    OnnxTensor tensor;
    std::vector<double> reals;
    std::vector<int64_t> integers;
    const unsigned char* raw = nullptr;
    size_t raw_size = 0;
    bool has_raw = false;
    while (m.next()) {
        switch (m.field) {
            case 1: m.append(tensor.shape); break;
            case 2: tensor.data_type = static_cast<int32_t>(m.number); break;
            case 4: m.append_reals<float>(reals); break;
            case 5:
            case 7: m.append(integers); break;
            case 8: tensor.name = m.text(); break;
            case 9:
                raw = m.data;
                raw_size = m.size;
                has_raw = true;
                break;
            case 10: m.append_reals<double>(reals); break;
            default: break;
        }
    }
    int64_t count = 1;
    for (const int64_t size : tensor.shape) {
        count *= size;
    }
    const auto load_raw = [&]<class T>(T) {
        for (size_t i = 0; i + sizeof(T) <= raw_size; i += sizeof(T)) {
            T value;
            std::memcpy(&value, raw + i, sizeof(T));
            tensor.values.push_back(static_cast<double>(value));
        }
    };
    switch (tensor.data_type) {
        case 1: has_raw ? load_raw(float()) : void(tensor.values = reals); break;
        case 11: has_raw ? load_raw(double()) : void(tensor.values = reals); break;
        case 10:
            if (has_raw) {
                for (size_t i = 0; i + 2 <= raw_size; i += 2) {
                    uint16_t bits;
                    std::memcpy(&bits, raw + i, 2);
                    tensor.values.push_back(half_to_double(bits));
                }
            } else {
                for (const int64_t bits : integers) {
                    tensor.values.push_back(half_to_double(static_cast<uint16_t>(bits)));
                }
            }
            break;
        case 6:
        case 7:
        case 9:
            if (!has_raw) {
                tensor.values.assign(integers.begin(), integers.end());
            } else if (tensor.data_type == 9) {
                load_raw(uint8_t());
            } else if (tensor.data_type == 6) {
                load_raw(int32_t());
            } else {
                load_raw(int64_t());
            }
            break;
        default: throw std::runtime_error("onnx: a tensor's data type is unknown to the reader");
    }
    if (static_cast<int64_t>(tensor.values.size()) != count) {
        throw std::runtime_error("onnx: tensor " + tensor.name + " has another number of elements");
    }
    return tensor;
}

OnnxAttribute parse_attribute(Message m, std::string& name) {
    OnnxAttribute attribute;
    while (m.next()) {
        switch (m.field) {
            case 1: name = m.text(); break;
            case 2: attribute.real = m.real32(); break;
            case 3: attribute.integer = static_cast<int64_t>(m.number); break;
            case 4: attribute.text = m.text(); break;
            case 7: m.append_reals<float>(attribute.reals); break;
            case 8: m.append(attribute.integers); break;
            case 20: attribute.type = static_cast<int32_t>(m.number); break;
            default: break;
        }
    }
    return attribute;
}

OnnxNode parse_node(Message m) {
    OnnxNode node;
    while (m.next()) {
        switch (m.field) {
            case 1: node.inputs.push_back(m.text()); break;
            case 2: node.outputs.push_back(m.text()); break;
            case 4: node.op_type = m.text(); break;
            case 5: {
                std::string name;
                OnnxAttribute attribute = parse_attribute(m.message(), name);
                node.attributes[name] = std::move(attribute);
                break;
            }
            case 7: node.domain = m.text(); break;
            default: break;
        }
    }
    return node;
}

std::string value_info_name(Message m) {
    std::string name;
    while (m.next()) {
        if (m.field == 1) {
            name = m.text();
        }
    }
    return name;
}

}  // namespace

OnnxTensor read_onnx_tensor(const std::string& path) {
    const std::vector<unsigned char> bytes = read_file(path);
    return parse_tensor({bytes.data(), bytes.data() + bytes.size()});
}

OnnxModel read_onnx_model(const std::string& path) {
    const std::vector<unsigned char> bytes = read_file(path);
    OnnxModel model;
    Message m(bytes.data(), bytes.data() + bytes.size());
    while (m.next()) {
        if (m.field == 7) {
            Message graph = m.message();
            while (graph.next()) {
                switch (graph.field) {
                    case 1: model.nodes.push_back(parse_node(graph.message())); break;
                    case 11: model.graph_inputs.push_back(value_info_name(graph.message())); break;
                    case 12: model.graph_outputs.push_back(value_info_name(graph.message())); break;
                    default: break;
                }
            }
        } else if (m.field == 8) {
            Message opset = m.message();
            std::string domain;
            int64_t version = 0;
            while (opset.next()) {
                if (opset.field == 1) {
                    domain = opset.text();
                } else if (opset.field == 2) {
                    version = static_cast<int64_t>(opset.number);
                }
            }
            if (domain.empty()) {
                model.opset = version;
            }
        }
    }
    return model;
}

}  // namespace seqmix_test
