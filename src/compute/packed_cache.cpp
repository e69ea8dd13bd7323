#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/base/checksum.hpp>
#include <bloom/base/fd.hpp>
#include <bloom/base/log.hpp>
#include <bloom/base/text.hpp>
#include <bloom/compute/packed_cache.hpp>

/// File: a header, the table of entries, then the matrices without gaps. Little-endian.
namespace bloom::compute {
namespace {

constexpr std::uint64_t kMagic = 0x31'4b'43'41'50'42'44'89; // 0x89 "DBPACK1"
constexpr std::uint64_t kVersion = 1;
/// More matrices than any model has.
constexpr std::uint64_t kMaxEntries = std::uint64_t{1} << 20;
/// Pieces that one worker reads and checks at a time: they stay in its cache in between.
constexpr std::size_t kBlockBytes = std::size_t{512} << 10;
/// What is looked at of a source matrix at each end, to know it again.
constexpr std::size_t kSampleBytes = 4096;

struct Header {
    std::uint64_t magic;
    std::uint64_t version;
    std::uint64_t identity;
    std::uint64_t n_entries;
    std::uint64_t file_bytes;
    std::uint64_t table_checksum;
    std::uint64_t unused;
    std::uint64_t checksum; ///< of all before
};

static_assert(sizeof(Header) == 64);

template <class T>
ByteSpan bytes_of(const T& value) noexcept {
    return {reinterpret_cast<const std::uint8_t*>(&value), sizeof value};
}

std::uint64_t header_checksum(const Header& h) noexcept {
    return checksum64(bytes_of(h).first(offsetof(Header, checksum)), kVersion);
}

std::size_t code_bytes(const kernels::SourceMatrix& m) noexcept {
    const auto n = static_cast<std::size_t>(m.rows * m.k);
    switch (m.format) {
    case kernels::WeightFormat::q8_0:
        return n / 32 * 34;
    case kernels::WeightFormat::affine8_f16:
    case kernels::WeightFormat::affine8_bf16:
    case kernels::WeightFormat::affine8_f32:
        return n;
    case kernels::WeightFormat::f16:
    case kernels::WeightFormat::bf16:
        return n * 2;
    case kernels::WeightFormat::f32:
        return n * 4;
    }
    return 0;
}

/// The first and the last bytes of the first and the last matrix: other weights in the same place
/// would have the same shape.
std::uint64_t sample_of(std::span<const kernels::SourceMatrix> sources) noexcept {
    std::uint64_t h = 0;
    for (const kernels::SourceMatrix* m : {&sources.front(), &sources.back()}) {
        const ByteSpan codes{m->codes, code_bytes(*m)};
        h = checksum64(codes.first(std::min(codes.size(), kSampleBytes)), h);
        h = checksum64(codes.last(std::min(codes.size(), kSampleBytes)), h);
    }
    return h;
}

/// What the table makes of sample matrices of every format.
std::uint64_t layout_fingerprint(const kernels::KernelTable& table) {
    using kernels::WeightFormat;
    std::uint64_t h = checksum64(as_bytes(table.isa), static_cast<std::uint64_t>(table.panel_rows));
    const std::int64_t rows = table.panel_rows + 3;
    constexpr std::int64_t kColumns = 128;
    std::vector<std::uint8_t> source(static_cast<std::size_t>(rows * kColumns) * sizeof(float));
    for (std::size_t i = 0; i < source.size(); ++i)
        source[i] = static_cast<std::uint8_t>(i * 167 + i / 251);
    for (const WeightFormat format :
         {WeightFormat::q8_0, WeightFormat::affine8_f16, WeightFormat::affine8_bf16,
          WeightFormat::affine8_f32, WeightFormat::f16, WeightFormat::bf16, WeightFormat::f32}) {
        const std::uint8_t* const at = source.data();
        const kernels::SourceMatrix matrix{format, rows, kColumns, at, at + 64, at + 128};
        std::vector<std::uint8_t> packed(table.packed_bytes(format, rows, kColumns) + 64);
        const auto address = reinterpret_cast<std::uintptr_t>(packed.data());
        std::uint8_t* const aligned = packed.data() + (64 - address % 64) % 64;
        table.pack(matrix, 0, rows, aligned);
        h = checksum64({aligned, packed.size() - 64}, h);
    }
    return h;
}

Result<> read_all(int fd, std::uint64_t offset, MutableByteSpan out) {
    while (!out.empty()) {
        const ssize_t got = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return Error::from_errno(errno, "read");
        if (got == 0) return Error{Code::truncated, "the file ends early"};
        offset += static_cast<std::uint64_t>(got);
        out = out.subspan(static_cast<std::size_t>(got));
    }
    return {};
}

Result<> write_all(int fd, ByteSpan in) {
    constexpr std::size_t kMost = std::size_t{64} << 20;
    while (!in.empty()) {
        const ssize_t put = ::write(fd, in.data(), std::min(in.size(), kMost));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return Error::from_errno(errno, "write");
        in = in.subspan(static_cast<std::size_t>(put));
    }
    return {};
}

/// The checksum of a matrix is that of its blocks' checksums; `block` fills or looks at one.
template <class F>
std::uint64_t checksum_blocks(std::size_t bytes, Team& team, const F& block) {
    const std::size_t n = (bytes + kBlockBytes - 1) / kBlockBytes;
    std::vector<std::uint64_t> sums(n);
    team.run([&](int w) {
        const Range mine = split_range(static_cast<std::int64_t>(n), 1, w, team.size());
        for (auto b = static_cast<std::size_t>(mine.begin); b < static_cast<std::size_t>(mine.end);
             ++b) {
            const std::size_t from = b * kBlockBytes;
            sums[b] = checksum64(block(from, std::min(kBlockBytes, bytes - from)), b);
        }
    });
    return checksum64({reinterpret_cast<const std::uint8_t*>(sums.data()), n * sizeof sums[0]});
}

std::uint64_t checksum_of(ByteSpan bytes, Team& team) {
    return checksum_blocks(bytes.size(), team,
                           [&](std::size_t from, std::size_t n) { return bytes.subspan(from, n); });
}

} // namespace

struct PackedCache::File {
    Fd fd;
};

PackedCache::PackedCache(std::filesystem::path path, std::uint64_t identity)
    : path_(std::move(path)), identity_(identity), file_(std::make_unique<File>()) {}

PackedCache::~PackedCache() = default;

std::unique_ptr<PackedCache> PackedCache::open(const std::filesystem::path& directory,
                                               ByteSpan model, const kernels::KernelTable& table) {
    if (model.empty()) return nullptr;
    const std::uint64_t identity = checksum64(model, layout_fingerprint(table));
    auto path = directory / fmt::format("{:016x}.packed", identity);
    std::unique_ptr<PackedCache> cache(new PackedCache(std::move(path), identity));
    cache->open_file();
    return cache;
}

void PackedCache::open_file() {
    file_->fd = Fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
    if (!file_->fd) {
        if (errno != ENOENT) give_up(std::strerror(errno));
        return;
    }
    if (const Result<> read = read_table(); !read) {
        give_up(read.error().message());
        return;
    }
    usable_ = true;
    rebuild_ = false;
}

Result<> PackedCache::read_table() {
    const int fd = file_->fd.get();
    struct stat info{};
    if (::fstat(fd, &info) != 0) return Error::from_errno(errno, "fstat");
    if (!S_ISREG(info.st_mode)) return Error{Code::corrupt, "not a regular file"};
    const auto file_bytes = static_cast<std::uint64_t>(info.st_size);
    Header h{};
    BLOOM_OK(read_all(fd, 0, {reinterpret_cast<std::uint8_t*>(&h), sizeof h}));
    if (h.magic != kMagic || h.version != kVersion) {
        return Error{Code::unsupported, "another version of the format"};
    }
    if (h.checksum != header_checksum(h)) return Error{Code::corrupt, "a damaged header"};
    if (h.identity != identity_) return Error{Code::corrupt, "it belongs to another model"};
    if (h.file_bytes != file_bytes) return Error{Code::truncated, "not the length it should have"};
    const std::uint64_t table_bytes = h.n_entries * sizeof(Entry);
    if (h.n_entries > kMaxEntries || table_bytes > file_bytes - sizeof h) {
        return Error{Code::corrupt, "a damaged header"};
    }
    entries_.resize(static_cast<std::size_t>(h.n_entries));
    const MutableByteSpan table{reinterpret_cast<std::uint8_t*>(entries_.data()),
                                static_cast<std::size_t>(table_bytes)};
    BLOOM_OK(read_all(fd, sizeof h, table));
    if (checksum64(table) != h.table_checksum) return Error{Code::corrupt, "a damaged table"};
    std::uint64_t at = sizeof h + table_bytes;
    for (const Entry& e : entries_) {
        if (e.offset != at || e.bytes > file_bytes - at) {
            return Error{Code::corrupt, "a damaged table"};
        }
        at += e.bytes;
    }
    if (at != file_bytes) return Error{Code::corrupt, "a damaged table"};
    return {};
}

void PackedCache::give_up(std::string_view reason) {
    log::warn("packed weights {} cannot be used ({}); they are packed again",
              bloom::quoted(path_.string(), 4096), reason);
    usable_ = false;
    rebuild_ = true;
    file_->fd.reset();
}

bool PackedCache::load(std::span<const kernels::SourceMatrix> sources, MutableByteSpan out,
                       Team& team) {
    BLOOM_CHECK(!sources.empty());
    BLOOM_CHECK(wanted_.size() == packed_.size());
    const kernels::SourceMatrix& first = sources.front();
    Entry want{};
    want.format = static_cast<std::uint64_t>(first.format);
    want.rows = first.rows;
    want.k = first.k;
    want.n_matrices = sources.size();
    want.sample = sample_of(sources);
    want.bytes = out.size();
    const std::size_t at = wanted_.size();
    wanted_.push_back(want);
    if (!usable_) return false;
    if (at >= entries_.size()) {
        give_up("it holds fewer layers");
        return false;
    }
    const Entry& have = entries_[at];
    if (have.format != want.format || have.rows != want.rows || have.k != want.k ||
        have.n_matrices != want.n_matrices || have.sample != want.sample ||
        have.bytes != want.bytes) {
        give_up("it holds other weights");
        return false;
    }
    std::atomic<bool> read{true};
    const int fd = file_->fd.get();
    const std::uint64_t sum =
        checksum_blocks(out.size(), team, [&](std::size_t from, std::size_t n) {
            const MutableByteSpan block = out.subspan(from, n);
            if (!read_all(fd, have.offset + from, block)) {
                read.store(false, std::memory_order_relaxed);
            }
            return ByteSpan(block);
        });
    if (read.load(std::memory_order_relaxed) && sum == have.checksum) {
        wanted_.back().checksum = sum;
        return true;
    }
    std::memset(out.data(), 0, out.size());
    give_up("damaged bytes");
    return false;
}

void PackedCache::add(ByteSpan packed) {
    BLOOM_CHECK(packed_.size() + 1 == wanted_.size());
    BLOOM_CHECK(packed.size() == wanted_.back().bytes);
    packed_.push_back(packed);
}

Result<> PackedCache::write_file(int fd, Team& team) {
    std::uint64_t at = sizeof(Header) + wanted_.size() * sizeof(Entry);
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
        wanted_[i].offset = at;
        wanted_[i].checksum = checksum_of(packed_[i], team);
        at += wanted_[i].bytes;
    }
    const ByteSpan table{reinterpret_cast<const std::uint8_t*>(wanted_.data()),
                         wanted_.size() * sizeof(Entry)};
    Header h{kMagic, kVersion, identity_, wanted_.size(), at, checksum64(table), 0, 0};
    h.checksum = header_checksum(h);
    BLOOM_OK(write_all(fd, bytes_of(h)));
    BLOOM_OK(write_all(fd, table));
    for (const ByteSpan matrix : packed_)
        BLOOM_OK(write_all(fd, matrix));
    if (::fsync(fd) != 0) return Error::from_errno(errno, "fsync");
    return {};
}

Result<> PackedCache::finish(Team& team) {
    BLOOM_CHECK(wanted_.size() == packed_.size());
    file_->fd.reset();
    if (!rebuild_ || wanted_.empty()) return {};
    const std::filesystem::path directory = path_.parent_path();
    std::error_code failure;
    std::filesystem::create_directories(directory, failure);
    const std::string shown = bloom::quoted(path_.string(), 4096);
    const std::filesystem::path draft = path_.string() + ".new";
    // Whoever holds the lock writes; a draft that a dead process left is written over.
    const Fd fd(::open(draft.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!fd) return Error::from_errno(errno, "create " + shown);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        log::info("packed weights {} are being written by another process", shown);
        return {};
    }
    struct stat locked{};
    struct stat named{};
    if (::fstat(fd.get(), &locked) != 0 || ::stat(draft.c_str(), &named) != 0 ||
        locked.st_ino != named.st_ino || locked.st_dev != named.st_dev) {
        return {}; // another process has finished it between opening and locking
    }
    Result<> done = {};
    if (::ftruncate(fd.get(), 0) != 0) done = std::unexpected(Error::from_errno(errno, "truncate"));
    if (done) done = write_file(fd.get(), team);
    if (done && ::rename(draft.c_str(), path_.c_str()) != 0) {
        done = std::unexpected(Error::from_errno(errno, "rename"));
    }
    if (!done) {
        static_cast<void>(::unlink(draft.c_str()));
        return std::unexpected(std::move(done).error().with_context("packed weights " + shown));
    }
    // The name is on disk when the directory is.
    const Fd parent(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (parent) static_cast<void>(::fsync(parent.get()));
    rebuild_ = false;
    log::info("packed weights are kept in {}", shown);
    return {};
}

} // namespace bloom::compute
