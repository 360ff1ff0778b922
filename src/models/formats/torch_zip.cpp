#include "models/formats/torch_zip.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/crc32.h"
#include "base/memory.h"
#include "models/formats/json.h"
#include "models/formats/pickle.h"
#include "models/formats/source.h"

namespace seqmix {
namespace {

constexpr const char* kFormat = "torch zip";

constexpr std::string_view kLocal = "PK\x03\x04", kCentral = "PK\x01\x02", kEnd = "PK\x05\x06",
                           kEnd64 = "PK\x06\x06", kLocator64 = "PK\x06\x07";
constexpr size_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kEnd64Size = 56,
                 kLocator64Size = 20, kMaxComment = 65535;
constexpr uint64_t kSaturated16 = 0xffff, kSaturated32 = 0xffffffff;

struct Entry {
    std::string_view name;
    uint64_t header = 0;  // where its local header begins
    uint64_t begin = 0;   // of its bytes
    uint64_t size = 0;
    uint32_t crc = 0;
};

// The directory of a zip file.
class Zip {
  public:
    Zip(std::string_view bytes, const FileSource& source) : bytes_(bytes), source_(source) {}

    Status read() {
        SEQMIX_TRY(find_directory());
        uint64_t place = directory_;
        for (uint64_t i = 0; i < count_; ++i) {
            SEQMIX_TRY(read_central(&place));
        }
        if (place != directory_end_) {
            return source_.bad("the directory of ", count_, " entries ends at ", place,
                               ", expected ", directory_end_);
        }
        std::vector<const Entry*> order;
        for (auto& [name, entry] : entries_) {
            SEQMIX_TRY(read_local(entry));
            has_checksums_ = has_checksums_ || entry.crc != 0;
            order.push_back(&entry);
        }
        std::sort(order.begin(), order.end(),
                  [](const Entry* a, const Entry* b) { return a->header < b->header; });
        const Entry* previous = nullptr;
        for (const Entry* entry : order) {
            if (previous != nullptr && entry->header < previous->begin + previous->size) {
                return source_.bad("entries ", in_quotes(previous->name), " and ",
                                   in_quotes(entry->name), " overlap");
            }
            previous = entry;
        }
        return {};
    }

    const std::map<std::string_view, Entry>& entries() const { return entries_; }
    const Entry* find(std::string_view name) const {
        const auto found = entries_.find(name);
        return found == entries_.end() ? nullptr : &found->second;
    }
    std::string_view bytes(const Entry& entry) const {
        return bytes_.substr(static_cast<size_t>(entry.begin), static_cast<size_t>(entry.size));
    }
    Status check(const Entry& entry) const {
        if (has_checksums_ &&
            crc32(bytes_.data() + entry.begin, static_cast<size_t>(entry.size)) != entry.crc) {
            return source_.bad("entry ", in_quotes(entry.name),
                               " is damaged: its checksum does not match");
        }
        return {};
    }

  private:
    // Little-endian; the caller knows that the bytes are there.
    uint64_t number(uint64_t place, size_t n) const {
        uint64_t value = 0;
        for (size_t i = 0; i < n; ++i) {
            value |= uint64_t{static_cast<unsigned char>(bytes_[static_cast<size_t>(place) + i])}
                     << (8 * i);
        }
        return value;
    }
    bool has(uint64_t place, std::string_view signature, size_t size) const {
        return place <= bytes_.size() && bytes_.size() - place >= size &&
               bytes_.substr(static_cast<size_t>(place)).starts_with(signature);
    }

    // The end record stands at the end, before a comment; a zip64 record and its locator before it.
    Status find_directory() {
        if (bytes_.size() < kEndSize) {
            return source_.bad(bytes_.size(), " bytes, too short for a zip file");
        }
        uint64_t end = bytes_.size() - kEndSize;
        const uint64_t least = end > kMaxComment ? end - kMaxComment : 0;
        while (!has(end, kEnd, kEndSize) || number(end + 20, 2) != bytes_.size() - end - kEndSize) {
            if (end == least) {
                return source_.bad("no end of a zip directory: the file is cut short or damaged");
            }
            --end;
        }
        uint64_t disks = number(end + 4, 2) | number(end + 6, 2);
        uint64_t size = number(end + 12, 4);
        const uint64_t here = number(end + 8, 2);
        count_ = number(end + 10, 2);
        directory_ = number(end + 16, 4);
        directory_end_ = end;
        bool same = here == count_;
        if (end >= kLocator64Size && has(end - kLocator64Size, kLocator64, kLocator64Size)) {
            const uint64_t locator = end - kLocator64Size;
            const uint64_t record = number(locator + 8, 8);
            if (!has(record, kEnd64, kEnd64Size) || record > locator - kEnd64Size) {
                return source_.bad("the zip64 record is not at ", static_cast<int64_t>(record));
            }
            directory_end_ = record;
            if (count_ == kSaturated16) {
                count_ = number(record + 32, 8);
                same = number(record + 24, 8) == count_;
            }
            if (size == kSaturated32) {
                size = number(record + 40, 8);
            }
            if (directory_ == kSaturated32) {
                directory_ = number(record + 48, 8);
            }
            if (disks == kSaturated16) {
                disks = number(record + 16, 4) | number(record + 20, 4);
            }
        }
        if (disks != 0 || !same) {
            return source_.refuse(SEQMIX_ERR_UNSUPPORTED, "a zip file on several disks");
        }
        if (directory_ > directory_end_ || size != directory_end_ - directory_) {
            return source_.bad("a directory of ", static_cast<int64_t>(size), " bytes at ",
                               static_cast<int64_t>(directory_), ", expected to end at ",
                               directory_end_);
        }
        return {};
    }

    Status read_central(uint64_t* place) {
        const uint64_t at = *place;
        if (!has(at, kCentral, kCentralSize) || at + kCentralSize > directory_end_) {
            return source_.bad("no directory entry at ", at);
        }
        const uint64_t flags = number(at + 8, 2), method = number(at + 10, 2);
        const uint64_t name_size = number(at + 28, 2), extra_size = number(at + 30, 2),
                       comment_size = number(at + 32, 2);
        uint64_t packed = number(at + 20, 4), disk = number(at + 34, 2);
        Entry entry;
        entry.crc = static_cast<uint32_t>(number(at + 16, 4));
        entry.size = number(at + 24, 4);
        entry.header = number(at + 42, 4);
        const uint64_t extra = at + kCentralSize + name_size;
        *place = extra + extra_size + comment_size;
        if (*place > directory_end_) {
            return source_.bad("the directory entry at ", at, " is cut short");
        }
        entry.name =
            bytes_.substr(static_cast<size_t>(at + kCentralSize), static_cast<size_t>(name_size));
        read_zip64(extra, extra + extra_size, &entry.size, &packed, &entry.header, &disk);
        const std::string name = in_quotes(entry.name);
        if ((flags & 1) != 0) {
            return source_.refuse(SEQMIX_ERR_UNSUPPORTED, "entry ", name, " is encrypted");
        }
        if (method != 0) {
            return source_.refuse(SEQMIX_ERR_UNSUPPORTED, "entry ", name, " is compressed (method ",
                                  static_cast<int64_t>(method), "), expected stored entries");
        }
        if (disk != 0) {
            return source_.refuse(SEQMIX_ERR_UNSUPPORTED, "a zip file on several disks");
        }
        if (packed != entry.size) {
            return source_.bad("entry ", name, " has ", static_cast<int64_t>(packed),
                               " stored bytes for ", static_cast<int64_t>(entry.size));
        }
        if (!entries_.emplace(entry.name, entry).second) {
            return source_.bad("two entries have the name ", name);
        }
        return {};
    }

    // The extra field 1 holds, in this order, those of the values that are saturated.
    void read_zip64(uint64_t place, uint64_t end, uint64_t* size, uint64_t* packed,
                    uint64_t* header, uint64_t* disk) const {
        while (end - place >= 4) {
            const uint64_t id = number(place, 2), length = number(place + 2, 2);
            place += 4;
            if (length > end - place) {
                return;
            }
            if (id == 1) {
                const uint64_t stop = place + length;
                for (uint64_t* value : {size, packed, header}) {
                    if (*value == kSaturated32 && stop - place >= 8) {
                        *value = number(place, 8);
                        place += 8;
                    }
                }
                if (*disk == kSaturated16 && stop - place >= 4) {
                    *disk = number(place, 4);
                }
                return;
            }
            place += length;
        }
    }

    // The bytes follow the local header, whose extra field pads them to a cache line.
    Status read_local(Entry& entry) const {
        const std::string name = in_quotes(entry.name);
        if (!has(entry.header, kLocal, kLocalSize) || entry.header >= directory_) {
            return source_.bad("entry ", name, " is not at ", static_cast<int64_t>(entry.header));
        }
        const uint64_t name_size = number(entry.header + 26, 2),
                       extra_size = number(entry.header + 28, 2);
        entry.begin = entry.header + kLocalSize + name_size + extra_size;
        if (entry.begin > directory_ || entry.size > directory_ - entry.begin) {
            return source_.bad("entry ", name, " of ", static_cast<int64_t>(entry.size),
                               " bytes at ", entry.begin, " ends beyond the directory at ",
                               directory_);
        }
        if (bytes_.substr(static_cast<size_t>(entry.header) + kLocalSize,
                          static_cast<size_t>(name_size)) != entry.name) {
            return source_.bad("entry ", name, " has another name at its place");
        }
        return {};
    }

    std::string_view bytes_;
    const FileSource& source_;
    std::map<std::string_view, Entry> entries_;
    uint64_t directory_ = 0, directory_end_ = 0, count_ = 0;
    bool has_checksums_ = false;
};

// The folder R, with its slash: that of the one data.pkl.
Status find_root(const Zip& zip, const FileSource& source, std::string_view* root) {
    constexpr std::string_view kProgram = "/data.pkl";
    bool found = false, script = false;
    for (const auto& [name, entry] : zip.entries()) {
        script = script || name.ends_with("/constants.pkl");
        if (!name.ends_with(kProgram)) {
            continue;
        }
        if (found) {
            return source.bad("two entries end in ", kProgram);
        }
        found = true;
        *root = name.substr(0, name.size() - kProgram.size() + 1);
    }
    if (!found) {
        return source.refuse(SEQMIX_ERR_UNSUPPORTED,
                             "a zip file without an entry NAME/data.pkl, not one of torch.save");
    }
    if (script) {
        return source.refuse(SEQMIX_ERR_UNSUPPORTED,
                             "a TorchScript program, expected a state dict");
    }
    return {};
}

Status check_byte_order(const Zip& zip, const std::string& root, const FileSource& source) {
    const Entry* entry = zip.find(root + "byteorder");
    if (entry == nullptr) {
        return {};  // files from before torch 2.1 are little-endian
    }
    SEQMIX_TRY(zip.check(*entry));
    if (zip.bytes(*entry) != "little") {
        return source.refuse(SEQMIX_ERR_UNSUPPORTED, "byte order ",
                             in_quotes(zip.bytes(*entry), 20), ", expected 'little'");
    }
    return {};
}

// A dict of at least one name, each of a tensor.
bool is_state_dict(const Pickle& pickle, const PickleValue& value) {
    if (value.kind != PickleKind::dict || pickle.items(value).empty()) {
        return false;
    }
    const Pickle::Items& items = pickle.items(value);
    for (size_t i = 0; i < items.size(); i += 2) {
        if (items[i].kind != PickleKind::text || items[i + 1].kind != PickleKind::tensor) {
            return false;
        }
    }
    return true;
}

Status find_state_dict(const Pickle& pickle, const FileSource& source, PickleValue* out) {
    *out = pickle.root();
    if (is_state_dict(pickle, *out)) {
        return {};
    }
    if (out->kind != PickleKind::dict) {
        return source.refuse(SEQMIX_ERR_UNSUPPORTED, "the saved object is ", pickle.describe(*out),
                             ", expected a dict");
    }
    const Pickle::Items& items = pickle.items(*out);
    for (const std::string_view key : {"state_dict", "model", "model_state_dict"}) {
        for (size_t i = 0; i < items.size(); i += 2) {
            if (items[i].kind == PickleKind::text && pickle_text(items[i]) == key &&
                is_state_dict(pickle, items[i + 1])) {
                *out = items[i + 1];
                return {};
            }
        }
    }
    return source.refuse(SEQMIX_ERR_UNSUPPORTED, "the saved object, ", pickle.describe(*out),
                         ", is no state dict (tensors by name), and none of 'state_dict', 'model', "
                         "'model_state_dict' in it is");
}

// Turns pickled tensors into stored ones.
class Tensors {
  public:
    Tensors(const Zip& zip, const Pickle& pickle, std::string root, size_t file_size,
            const FileSource& source)
        : zip_(zip),
          pickle_(pickle),
          root_(std::move(root)),
          copies_left_(static_cast<int64_t>(file_size)),
          source_(source) {}

    Status add(const std::string& name, const PickledTensor& tensor, TensorFile& out) {
        const PickledStorage& storage = pickle_.storages()[tensor.storage];
        const Entry* entry = nullptr;
        SEQMIX_TRY(find(storage, name, &entry));
        const std::string_view bytes = zip_.bytes(*entry);
        int64_t needed = 0;
        if (!checked_mul(storage.count, storage.width, &needed) ||
            static_cast<uint64_t>(needed) > bytes.size()) {
            return source_.bad("tensor ", in_quotes(name), ": entry ", in_quotes(entry->name),
                               " has ", bytes.size(), " bytes, expected ", storage.count,
                               " elements of ", storage.width);
        }
        StoredTensor stored;
        stored.dtype = storage.dtype;
        stored.dtype_text = storage.dtype_text;
        int64_t size = storage.width;
        bool overflows = false;
        for (const PickleValue& axis : pickle_.items(tensor.shape)) {
            stored.shape.push_back(axis.integer);
            overflows = !checked_mul(size, axis.integer, &size) || overflows;
        }
        if (overflows) {
            return source_.bad("tensor ", in_quotes(name), ": the number of elements overflows");
        }
        stored.bytes = static_cast<uint64_t>(size);
        stored.data = bytes.data() + tensor.offset * storage.width;
        if (!is_dense(tensor)) {
            SEQMIX_TRY(copy(name, tensor, storage.width, stored, out));
        }
        if (!out.tensors.emplace(name, std::move(stored)).second) {
            return source_.bad("tensor ", in_quotes(name), " appears twice");
        }
        return {};
    }

  private:
    // The storage's entry, its checksum compared once.
    Status find(const PickledStorage& storage, const std::string& name, const Entry** out) {
        *out = zip_.find(root_ + "data/" + std::string(storage.key));
        if (*out == nullptr) {
            return source_.bad("tensor ", in_quotes(name), ": there is no entry data/",
                               in_quotes(storage.key));
        }
        if (!checked_.insert(*out).second) {
            return {};
        }
        return zip_.check(**out);
    }

    // In C order without gaps. Strides of axes of size 1 say nothing.
    bool is_dense(const PickledTensor& tensor) const {
        const Pickle::Items &shape = pickle_.items(tensor.shape),
                            &strides = pickle_.items(tensor.strides);
        int64_t expected = 1;
        for (size_t i = shape.size(); i-- > 0;) {
            if (shape[i].integer == 0) {
                return true;
            }
            if (shape[i].integer > 1) {
                if (strides[i].integer != expected) {
                    return false;
                }
                expected *= shape[i].integer;  // fits: the product of all axes does
            }
        }
        return true;
    }

    Status copy(const std::string& name, const PickledTensor& tensor, int64_t width,
                StoredTensor& stored, TensorFile& out) {
        const auto size = static_cast<int64_t>(stored.bytes);
        if (size > copies_left_) {
            return source_.refuse(
                SEQMIX_ERR_LIMIT, "tensor ", in_quotes(name), " of ", size,
                " bytes is not in C order, and copies may take at most the file's size");
        }
        copies_left_ -= size;
        auto buffer = std::make_shared<std::vector<char>>(static_cast<size_t>(size));
        const Pickle::Items& strides = pickle_.items(tensor.strides);
        const auto axes = stored.shape.size();
        const auto* const from = static_cast<const char*>(stored.data);
        std::vector<int64_t> index(axes, 0);
        int64_t place = 0;  // in elements, from the tensor's first
        for (char *to = buffer->data(), *end = to + size; to != end; to += width) {
            std::memcpy(to, from + place * width, static_cast<size_t>(width));
            for (size_t i = axes; i-- > 0;) {
                place += strides[i].integer;
                if (++index[i] < stored.shape[i]) {
                    break;
                }
                place -= strides[i].integer * stored.shape[i];
                index[i] = 0;
            }
        }
        stored.data = buffer->data();
        out.copies.push_back(std::move(buffer));
        return {};
    }

    const Zip& zip_;
    const Pickle& pickle_;
    std::string root_;
    int64_t copies_left_;
    const FileSource& source_;
    std::set<const Entry*> checked_;
};

}  // namespace

bool is_zip(std::string_view bytes) {
    return bytes.starts_with(kLocal) || bytes.starts_with(kEnd) || bytes.starts_with(kEnd64);
}

Status parse_torch_zip(const void* data, size_t size, std::string_view source_name,
                       TensorFile& out) {
    const FileSource source{kFormat, source_name};
    Zip zip(std::string_view(static_cast<const char*>(data), size), source);
    SEQMIX_TRY(zip.read());
    std::string_view folder;
    SEQMIX_TRY(find_root(zip, source, &folder));
    const std::string root(folder);
    SEQMIX_TRY(check_byte_order(zip, root, source));
    const Entry& program = *zip.find(root + "data.pkl");
    SEQMIX_TRY(zip.check(program));
    const std::string where =
        source_name.empty() ? kFormat : std::string(kFormat) + " " + std::string(source_name);
    Pickle pickle;
    SEQMIX_TRY(pickle.parse(zip.bytes(program), where));
    PickleValue state_dict;
    SEQMIX_TRY(find_state_dict(pickle, source, &state_dict));
    TensorFile result;
    Tensors tensors(zip, pickle, root, size, source);
    const Pickle::Items& items = pickle.items(state_dict);
    for (size_t i = 0; i < items.size(); i += 2) {
        SEQMIX_TRY(
            tensors.add(std::string(pickle_text(items[i])), pickle.tensor(items[i + 1]), result));
    }
    out = std::move(result);
    return {};
}

}  // namespace seqmix
