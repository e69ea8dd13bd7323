#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <bloom/base/checksum.hpp>
#include <bloom/base/text.hpp>
#include <bloom/engine/mapped_file.hpp>

namespace bloom::engine {
namespace {

/// Largest piece handed to one pread; the kernel's own limit is a little under 2 GiB.
constexpr std::size_t kMaxRead = std::size_t{1} << 30;

Error open_error(int sys_errno, const std::string& name) {
    Error error = Error::from_errno(sys_errno, "open " + bloom::quoted(name, 256));
    const Code code = sys_errno == ENOENT || sys_errno == ENOTDIR ? Code::not_found
                      : sys_errno == EACCES || sys_errno == EPERM ? Code::permission_denied
                                                                  : Code::io_error;
    return {code, std::string(error.message()), sys_errno};
}

bool is_under(const std::filesystem::path& path, const std::filesystem::path& root) {
    auto at = path.begin();
    for (const auto& part : root) {
        if (part.empty()) continue; // a trailing slash
        if (at == path.end() || *at != part) return false;
        ++at;
    }
    return true;
}

/// O_NONBLOCK: a FIFO under that name must not hang us; regular files ignore it.
constexpr int kOpenFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;

Result<Fd> open_link_inside(const std::filesystem::path& directory, std::string_view name,
                            const std::filesystem::path& store) {
    const std::filesystem::path path = directory / name;
    Fd fd(::open(path.c_str(), kOpenFlags | O_NOFOLLOW));
    if (fd) return fd;
    if (errno != ELOOP) return open_error(errno, path.string());
    std::error_code ec;
    const std::filesystem::path target = std::filesystem::canonical(path, ec);
    if (ec) return open_error(ec.value(), path.string());
    const std::filesystem::path root = std::filesystem::canonical(store, ec);
    if (ec) return open_error(ec.value(), store.string());
    if (!is_under(target, root)) {
        return Error{Code::permission_denied, fmt::format("{} is a link out of the model store {}",
                                                          bloom::quoted(path.string(), 256),
                                                          bloom::quoted(root.string(), 256))};
    }
    fd = Fd(::open(target.c_str(), kOpenFlags | O_NOFOLLOW));
    if (!fd) return open_error(errno, target.string());
    return fd;
}

} // namespace

MappedFile::MappedFile(MappedFile&& other) noexcept
    : fd_(std::move(other.fd_)), data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)), mapped_(std::exchange(other.mapped_, false)),
      name_(std::move(other.name_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    if (this != &other) {
        unmap();
        fd_ = std::move(other.fd_);
        data_ = std::exchange(other.data_, nullptr);
        size_ = std::exchange(other.size_, 0);
        mapped_ = std::exchange(other.mapped_, false);
        name_ = std::move(other.name_);
    }
    return *this;
}

MappedFile::~MappedFile() {
    unmap();
}

void MappedFile::unmap() noexcept {
    if (mapped_) ::munmap(const_cast<std::uint8_t*>(data_), static_cast<std::size_t>(size_));
    mapped_ = false;
}

Result<MappedFile> MappedFile::from_fd(Fd fd, std::string name) {
    struct stat info{};
    if (::fstat(fd.get(), &info) != 0)
        return Error::from_errno(errno, "fstat " + bloom::quoted(name, 256));
    if (!S_ISREG(info.st_mode)) {
        return Error{Code::invalid_argument,
                     fmt::format("{} is not a regular file", bloom::quoted(name, 256))};
    }
    MappedFile file;
    file.name_ = std::move(name);
    file.size_ = static_cast<std::uint64_t>(info.st_size);
    if (file.size_ > 0) { // an empty range cannot be mapped
        void* at = ::mmap(nullptr, static_cast<std::size_t>(file.size_), PROT_READ, MAP_PRIVATE,
                          fd.get(), 0);
        if (at == MAP_FAILED) {
            return Error::from_errno(
                errno,
                fmt::format("map {} ({} bytes)", bloom::quoted(file.name_, 256), file.size_));
        }
        file.data_ = static_cast<const std::uint8_t*>(at);
        file.mapped_ = true;
    }
    file.fd_ = std::move(fd);
    return file;
}

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
    Fd fd(::open(path.c_str(), kOpenFlags));
    if (!fd) return open_error(errno, path.string());
    return from_fd(std::move(fd), path.string());
}

Result<MappedFile> MappedFile::open_inside(const std::filesystem::path& directory,
                                           std::string_view name,
                                           const std::filesystem::path& store) {
    BLOOM_TRY(Fd fd, open_link_inside(directory, name, store));
    return from_fd(std::move(fd), (directory / name).string());
}

MappedFile MappedFile::from_memory(ByteSpan bytes, std::string name) {
    MappedFile file;
    file.data_ = bytes.data();
    file.size_ = bytes.size();
    file.name_ = std::move(name);
    return file;
}

Result<> MappedFile::read_at(std::uint64_t offset, MutableByteSpan out) const {
    if (offset > size_ || out.size() > size_ - offset) {
        return Error{Code::truncated,
                     fmt::format("{}: {} bytes at {} pass the end at {}", bloom::quoted(name_, 256),
                                 out.size(), offset, size_)};
    }
    if (!fd_) {
        if (!out.empty()) std::memcpy(out.data(), data_ + offset, out.size());
        return {};
    }
    while (!out.empty()) {
        const std::size_t want = out.size() < kMaxRead ? out.size() : kMaxRead;
        const ssize_t got = ::pread(fd_.get(), out.data(), want, static_cast<off_t>(offset));
        if (got < 0) {
            if (errno == EINTR) continue;
            return Error::from_errno(errno, "read " + bloom::quoted(name_, 256));
        }
        if (got == 0) {
            return Error{Code::corrupt,
                         fmt::format("{} became shorter while it was read (it had {} bytes)",
                                     bloom::quoted(name_, 256), size_)};
        }
        offset += static_cast<std::uint64_t>(got);
        out = out.subspan(static_cast<std::size_t>(got));
    }
    return {};
}

std::string MappedFile::identity() const {
    constexpr std::size_t kHead = std::size_t{1} << 20;
    struct stat info{};
    if (!fd_ || ::fstat(fd_.get(), &info) != 0) return {};
    std::vector<std::uint8_t> head(static_cast<std::size_t>(std::min<std::uint64_t>(size_, kHead)));
    if (!read_at(0, head)) return {};
    return fmt::format("{} {}.{:09} {:016x}", size_, info.st_mtim.tv_sec, info.st_mtim.tv_nsec,
                       checksum64(head));
}

Result<> MappedFile::check_unchanged() const {
    if (!fd_) return {};
    struct stat info{};
    if (::fstat(fd_.get(), &info) != 0)
        return Error::from_errno(errno, "fstat " + bloom::quoted(name_, 256));
    if (static_cast<std::uint64_t>(info.st_size) == size_) return {};
    return Error{Code::corrupt,
                 fmt::format("{} changed its size from {} to {} bytes while it was in use",
                             bloom::quoted(name_, 256), size_, info.st_size)};
}

void MappedFile::advise(std::uint64_t offset, std::uint64_t bytes, Advice advice) const noexcept {
    // Never for foreign memory: MADV_DONTNEED would zero an anonymous mapping.
    if (!mapped_ || offset >= size_) return;
    static const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    std::uint64_t end = bytes < size_ - offset ? offset + bytes : size_;
    std::uint64_t begin = offset / page * page;
    if (advice == Advice::dont_need) { // inwards: the neighbours may still be wanted
        begin = (offset + page - 1) / page * page;
        end = end == size_ ? end : end / page * page;
    }
    if (begin >= end) return;
    const int how = advice == Advice::will_need    ? MADV_WILLNEED
                    : advice == Advice::sequential ? MADV_SEQUENTIAL
                                                   : MADV_DONTNEED;
    // A hint: the kernel may refuse it and nothing is lost.
    static_cast<void>(::madvise(const_cast<std::uint8_t*>(data_) + begin,
                                static_cast<std::size_t>(end - begin), how));
}

Result<std::string> read_small_file(const std::filesystem::path& directory, std::string_view name,
                                    const std::filesystem::path& store, std::uint64_t max_bytes) {
    BLOOM_TRY(const MappedFile file, MappedFile::open_inside(directory, name, store));
    if (file.size() > max_bytes) {
        return Error{Code::too_large,
                     fmt::format("{} has {} bytes, more than the {} that are read",
                                 bloom::quoted(file.name(), 256), file.size(), max_bytes)};
    }
    std::string text(static_cast<std::size_t>(file.size()), '\0');
    BLOOM_OK(file.read_at(0, {reinterpret_cast<std::uint8_t*>(text.data()), text.size()}));
    return text;
}

Result<std::filesystem::path> store_root(const std::filesystem::path& directory) {
    std::error_code ec;
    std::filesystem::path resolved = std::filesystem::canonical(directory, ec);
    if (ec) return open_error(ec.value(), directory.string());
    if (resolved.parent_path().filename() == "snapshots")
        return resolved.parent_path().parent_path();
    return resolved;
}

} // namespace bloom::engine
