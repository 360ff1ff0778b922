#include "session.h"

#include <string_view>

#include "bytes.h"
#include "files.h"

namespace seqmix_cli {

namespace {

constexpr std::string_view kMagic = "SMXSESS1";
constexpr size_t kFixedBytes = 48;
constexpr uint32_t kMostPending = 1u << 20;

}  // namespace

Session read_session(const std::string& path) {
    std::string content = read_regular_file(path);
    Session session;
    if (content.compare(0, kMagic.size(), kMagic) != 0) {
        session.bare = true;
        session.blob = std::move(content);
        return session;
    }
    const auto torn = [&]() {
        return Failure(kCannotRead, path + ": the session header is damaged");
    };
    if (content.size() < kFixedBytes) {
        throw torn();
    }
    const uint32_t has_generator = load_u32(content, 8);
    const uint32_t count = load_u32(content, 12);
    const size_t header = kFixedBytes + size_t{8} * count;
    if (has_generator > 1 || count > kMostPending || content.size() < header + 8 ||
        load_u32(content, header) != crc32(std::string_view(content).substr(0, header)) ||
        load_u32(content, header + 4) != 0) {
        throw torn();
    }
    if (has_generator == 1) {
        session.generator.emplace();
        for (size_t i = 0; i < 4; ++i) {
            (*session.generator)[i] = load_u64(content, 16 + 8 * i);
        }
    }
    for (size_t i = 0; i < count; ++i) {
        session.pending.push_back(static_cast<int64_t>(load_u64(content, kFixedBytes + 8 * i)));
    }
    session.blob = content.substr(header + 8);
    return session;
}

void write_session(const std::string& path, const Session& session) {
    std::string header(kMagic);
    store_u32(header, session.generator ? 1 : 0);
    store_u32(header, static_cast<uint32_t>(session.pending.size()));
    for (size_t i = 0; i < 4; ++i) {
        store_u64(header, session.generator ? (*session.generator)[i] : 0);
    }
    for (const int64_t id : session.pending) {
        store_u64(header, static_cast<uint64_t>(id));
    }
    store_u32(header, crc32(header));
    store_u32(header, 0);
    OutputFile file(path);
    file.write(header.data(), header.size());
    file.write(session.blob.data(), session.blob.size());
    file.commit();
}

std::string save_blob(const seqmix_state* state) {
    size_t needed = 0;
    const seqmix_status status = seqmix_state_save(state, nullptr, 0, &needed);
    if (status != SEQMIX_ERR_BUFFER_TOO_SMALL) {
        check(status);
    }
    std::string blob(needed, '\0');
    check(seqmix_state_save(state, blob.data(), blob.size(), &needed));
    return blob;
}

State load_blob(const Model& model, const std::string& blob, const std::string& path,
                bool accept_other_weights) {
    seqmix_state_options options{};
    options.struct_size = sizeof options;
    options.flags = accept_other_weights ? SEQMIX_STATE_ACCEPT_OTHER_WEIGHTS : 0;
    return make<State>(
        [&](auto** s) {
            return seqmix_state_load(model.layer(), blob.data(), blob.size(), &options, s);
        },
        kCannotRead, path);
}

}  // namespace seqmix_cli
