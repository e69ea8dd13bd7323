#include "node/build_id.hpp"

#include <cstring>
#include <elf.h>
#include <fstream>
#include <vector>

#include <bloom/base/text.hpp>
#include <bloom/crypto/digest.hpp>

namespace bloom::node {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
constexpr std::size_t kSegmentsMax = 256;

bool read_at(std::ifstream& file, std::uint64_t at, void* out, std::size_t size) {
    file.seekg(static_cast<std::streamoff>(at));
    file.read(static_cast<char*>(out), static_cast<std::streamsize>(size));
    return file.good();
}

bool hash_segment(std::ifstream& file, const Elf64_Phdr& segment, crypto::Sha256Stream& hash) {
    std::vector<std::uint8_t> piece(kPieceBytes);
    std::uint64_t at = segment.p_offset;
    for (std::uint64_t left = segment.p_filesz; left > 0;) {
        const std::size_t n = left < kPieceBytes ? static_cast<std::size_t>(left) : kPieceBytes;
        if (!read_at(file, at, piece.data(), n)) return false;
        hash.update(ByteSpan(piece).first(n));
        at += n;
        left -= n;
    }
    return true;
}

} // namespace

std::string build_id_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    Elf64_Ehdr head{};
    if (!file || !read_at(file, 0, &head, sizeof head)) return {};
    if (std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 ||
        head.e_phentsize != sizeof(Elf64_Phdr) || head.e_phnum > kSegmentsMax) {
        return {};
    }
    std::vector<Elf64_Phdr> segments(head.e_phnum);
    if (!read_at(file, head.e_phoff, segments.data(), segments.size() * sizeof(Elf64_Phdr)))
        return {};
    crypto::Sha256Stream hash;
    for (const Elf64_Phdr& segment : segments) {
        if (segment.p_type == PT_LOAD && !hash_segment(file, segment, hash)) return {};
    }
    return to_hex(hash.finish());
}

} // namespace bloom::node
