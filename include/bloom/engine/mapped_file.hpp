#pragma once

#include <filesystem>
#include <string>

#include <bloom/base/bytes.hpp>
#include <bloom/base/fd.hpp>
#include <bloom/base/result.hpp>

namespace bloom::engine {

/// What is about to happen to a range of a mapped file.
enum class Advice : std::uint8_t {
    will_need,  ///< read ahead
    sequential, ///< read once, front to back
    dont_need,  ///< its pages may leave memory; reading again is allowed and slow
};

/// A model file: read-only bytes over a private descriptor, or over memory that somebody else owns.
/// The size is taken once, at opening; parsers copy headers with `read_at`, which reports a file
/// that has become shorter, and only weights are read through the mapping. A file that is cut while
/// its weights are being read raises a bus error: `check_unchanged` before each layer narrows that.
/// Lifetime: movable; bytes() stays valid until destruction. Thread: const members from any.
class MappedFile {
public:
    /// Maps a regular file. Errors: not_found, permission_denied, invalid_argument (not a regular
    /// file), io_error; each names the path.
    static Result<MappedFile> open(const std::filesystem::path& path);
    /// Opens `name` (a plain base name) inside `directory`; a symbolic link is followed only to a
    /// place under `store`, which is the directory itself or the root of a content-addressed cache.
    static Result<MappedFile> open_inside(const std::filesystem::path& directory,
                                          std::string_view name,
                                          const std::filesystem::path& store);
    /// Wraps bytes that outlive this object, for example a model compiled into the program.
    static MappedFile from_memory(ByteSpan bytes, std::string name);

    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;
    ~MappedFile();

    ByteSpan bytes() const noexcept { return {data_, static_cast<std::size_t>(size_)}; }

    std::uint64_t size() const noexcept { return size_; }

    /// Path as opened, or the name given to from_memory.
    const std::string& name() const noexcept { return name_; }

    /// Copies `out.size()` bytes from `offset` without touching the mapping.
    /// Errors: truncated when the range passes the size; corrupt when the file has become shorter.
    Result<> read_at(std::uint64_t offset, MutableByteSpan out) const;

    /// Size, time of change and a checksum of the first MiB; empty for bytes in memory or when the
    /// system does not say.
    std::string identity() const;

    /// Errors: corrupt when the file's size is not what it was at opening.
    Result<> check_unchanged() const;

    /// Hint for [offset, offset + bytes), clipped to whole pages; nothing for bytes in memory.
    void advise(std::uint64_t offset, std::uint64_t bytes, Advice advice) const noexcept;

private:
    MappedFile() = default;
    static Result<MappedFile> from_fd(Fd fd, std::string name);
    void unmap() noexcept;

    Fd fd_;
    const std::uint8_t* data_ = nullptr;
    std::uint64_t size_ = 0;
    bool mapped_ = false;
    std::string name_;
};

/// Reads a whole small file of a model directory, links as in open_inside.
/// Errors: not_found; too_large above `max_bytes`; those of open_inside.
Result<std::string> read_small_file(const std::filesystem::path& directory, std::string_view name,
                                    const std::filesystem::path& store, std::uint64_t max_bytes);

/// Where links inside a model directory may lead: the directory itself, or for
/// `<root>/snapshots/<rev>` (the layout of the Hugging Face cache) the root, whose `blobs` hold the
/// contents. Errors: not_found, io_error when the directory cannot be resolved.
Result<std::filesystem::path> store_root(const std::filesystem::path& directory);

} // namespace bloom::engine
