#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include <bloom/attest/identity_key.hpp>
#include <bloom/base/fd.hpp>
#include <bloom/base/text.hpp>
#include <bloom/crypto/digest.hpp>

namespace bloom::attest {
namespace {

constexpr mode_t kPrivateMode = 0600;
constexpr mode_t kOthers = 0077;
constexpr std::size_t kKeyFileBytesMax = std::size_t{16} << 10; // such a key takes 241
constexpr std::size_t kNodeIdBytes = 10;

constexpr const char* kWayOut = "restore it from a backup, or delete it: the node then starts with "
                                "a new identity and another serial";

Result<> write_all(int fd, std::string_view bytes, const std::string& path) {
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return Error::from_errno(errno, "write " + path);
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
}

Result<> sync(int fd, const std::string& path) {
    if (::fsync(fd) == 0) return {};
    return Error::from_errno(errno, "fsync " + path);
}

/// The whole file, or not_found. Errors as IdentityKey::open.
Result<std::string> read_private(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file) {
        if (errno == ENOENT) return Error{Code::not_found};
        return Error::from_errno(errno, "identity key " + path);
    }
    struct stat facts{};
    if (::fstat(file.get(), &facts) != 0) return Error::from_errno(errno, "identity key " + path);
    if (!S_ISREG(facts.st_mode))
        return Error{Code::corrupt, fmt::format("identity key {}: not a file", path)};
    if ((facts.st_mode & kOthers) != 0) {
        return Error{Code::permission_denied,
                     fmt::format("identity key {}: mode {:04o} lets others read or change it, and "
                                 "whoever has it can sign as this node; if nobody did, 'chmod "
                                 "600' it, else delete it for a new identity",
                                 path, facts.st_mode & 07777)};
    }
    std::string text(kKeyFileBytesMax + 1, '\0');
    std::size_t size = 0;
    while (size < text.size()) {
        const ssize_t n = ::read(file.get(), text.data() + size, text.size() - size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return Error::from_errno(errno, "identity key " + path);
        if (n == 0) break;
        size += static_cast<std::size_t>(n);
    }
    if (size > kKeyFileBytesMax) {
        return Error{Code::corrupt,
                     fmt::format("identity key {}: too long for a key; {}", path, kWayOut)};
    }
    text.resize(size);
    return text;
}

/// Writes a new file next to `path` and gives it that name unless somebody was faster.
Result<> write_private(const std::string& data_dir, const std::string& path,
                       std::string_view bytes) {
    const std::string draft = fmt::format("{}.{}", path, crypto::random_hex(8));
    const Fd file(::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kPrivateMode));
    if (!file) return Error::from_errno(errno, "identity key " + draft);
    Result<> written = write_all(file.get(), bytes, draft);
    if (written) written = sync(file.get(), draft);
    // A link never replaces; rename() would take the name from a node that starts beside this one.
    if (written && ::link(draft.c_str(), path.c_str()) != 0 && errno != EEXIST)
        written = Error::from_errno(errno, "identity key " + path);
    ::unlink(draft.c_str());
    BLOOM_OK(written);
    const Fd folder(::open(data_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder) return Error::from_errno(errno, "data directory " + data_dir);
    return sync(folder.get(), data_dir);
}

Result<crypto::SigningKey> read_key(const std::string& path) {
    BLOOM_TRY(std::string pem, read_private(path));
    Result<crypto::SigningKey> key = crypto::SigningKey::from_pem(pem);
    crypto::wipe(pem);
    if (key) return key;
    return Error{key.error().code(),
                 fmt::format("identity key {}: {}; {}", path, key.error().message(), kWayOut)};
}

} // namespace

std::string node_id_of(const crypto::VerifyKey& key) {
    const crypto::Sha256 digest = crypto::sha256(key.spki());
    return to_base32(ByteSpan(digest).first(kNodeIdBytes));
}

IdentityKey::IdentityKey(crypto::SigningKey key)
    : key_(std::move(key)), node_id_(node_id_of(key_.public_key())),
      serial_(std::string(kSerialPrefix) + node_id_), public_key_(key_.public_key().spki_base64()) {
}

Result<IdentityKey> IdentityKey::open(const std::string& data_dir) {
    const std::string path = data_dir + "/" + std::string(kKeyFile);
    Result<crypto::SigningKey> key = read_key(path);
    if (!key && key.error().code() == Code::not_found) {
        BLOOM_TRY(const crypto::SigningKey fresh, crypto::SigningKey::generate());
        BLOOM_TRY(std::string pem, fresh.to_pem());
        const Result<> written = write_private(data_dir, path, pem);
        crypto::wipe(pem);
        BLOOM_OK(written);
        key = read_key(path); // what lies there counts, whoever wrote it
    }
    if (!key) return std::unexpected(std::move(key).error());
    return IdentityKey(std::move(*key));
}

Result<IdentityKey> IdentityKey::generate() {
    BLOOM_TRY(crypto::SigningKey key, crypto::SigningKey::generate());
    return IdentityKey(std::move(key));
}

Result<std::string> IdentityKey::sign(std::string_view message) const {
    BLOOM_TRY(const std::vector<std::uint8_t> signature, key_.sign(as_bytes(message)));
    return to_base64(signature);
}

} // namespace bloom::attest
