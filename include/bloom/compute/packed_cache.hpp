#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/kernel_table.hpp"
#include <bloom/base/bytes.hpp>
#include <bloom/base/result.hpp>
#include <bloom/compute/team.hpp>

namespace bloom::compute {

/// Packed matrices of one model in one file, in the order in which they are uploaded, so that the
/// next start reads instead of packing. The file is named after the model's identity and a
/// fingerprint of the layout, which is taken from what the kernel table makes of sample matrices:
/// another table, panel height or order of bytes is another file. It is read into anonymous memory,
/// which may lie on huge pages as a mapped file may not, and every byte of it is covered by a
/// checksum. What does not fit or is damaged is packed from the model again, said in the log once,
/// and written anew.
/// A checksum finds accidents; who may write to the directory can change the model.
/// Thread: one. Several processes may share a directory: a file is complete or not there.
class PackedCache {
public:
    /// `model` is what tells one model file from another. Never fails: a cache that cannot be read
    /// is an empty one. A null pointer when `model` is empty.
    static std::unique_ptr<PackedCache> open(const std::filesystem::path& directory, ByteSpan model,
                                             const kernels::KernelTable& table);

    ~PackedCache();
    PackedCache(const PackedCache&) = delete;
    PackedCache& operator=(const PackedCache&) = delete;

    /// Whether there was a file for this model; then its matrices need not be read ahead.
    bool has_file() const noexcept { return usable_; }

    /// Fills `out` with the next matrix if the file has it: packed from matrices like `sources`.
    /// False: pack it; `out` is zero.
    bool load(std::span<const kernels::SourceMatrix> sources, MutableByteSpan out, Team& team);

    /// Where the matrix of the last load() is; its memory must stay until finish().
    void add(ByteSpan packed);

    /// Writes the file if it was not there or not right. Errors: io_error and what the system says;
    /// the model runs without it.
    Result<> finish(Team& team);

private:
    /// One matrix in the file's table.
    struct Entry {
        std::uint64_t format;
        std::int64_t rows;
        std::int64_t k;
        std::uint64_t n_matrices; ///< experts
        std::uint64_t sample;     ///< of the source's bytes
        std::uint64_t offset;
        std::uint64_t bytes;
        std::uint64_t checksum;
    };

    struct File;

    PackedCache(std::filesystem::path path, std::uint64_t identity);

    void open_file();
    Result<> read_table();
    void give_up(std::string_view reason);
    Result<> write_file(int fd, Team& team);

    std::filesystem::path path_;
    std::uint64_t identity_;
    std::unique_ptr<File> file_;
    bool usable_ = false;
    bool rebuild_ = true;
    std::vector<Entry> entries_; ///< of the file
    std::vector<Entry> wanted_;  ///< of the model, as uploaded so far
    std::vector<ByteSpan> packed_;
};

} // namespace bloom::compute
