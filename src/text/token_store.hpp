#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bloom::text {

/// Hash of a short byte string; equal on every machine.
inline std::uint64_t hash_bytes(std::string_view bytes) noexcept {
    std::uint64_t h = 0x9e3779b97f4a7c15U ^ bytes.size();
    const char* at = bytes.data();
    std::size_t left = bytes.size();
    const auto mix = [&h](std::uint64_t word) {
        h = (h ^ word) * 0xff51afd7ed558ccdU;
        h ^= h >> 32;
    };
    for (; left >= 8; left -= 8, at += 8) {
        std::uint64_t word;
        std::memcpy(&word, at, 8);
        mix(word);
    }
    if (left > 0) {
        std::uint64_t word = 0;
        std::memcpy(&word, at, left);
        mix(word);
    }
    return h;
}

/// The bytes of every token, in one block.
class TokenStore {
public:
    void reserve(std::size_t n_tokens, std::size_t n_bytes) {
        ends_.reserve(n_tokens);
        bytes_.reserve(n_bytes);
    }

    void add(std::string_view bytes) {
        bytes_ += bytes;
        ends_.push_back(bytes_.size());
    }

    std::size_t size() const noexcept { return ends_.size(); }

    std::string_view operator[](std::size_t id) const noexcept {
        const std::size_t begin = id == 0 ? 0 : ends_[id - 1];
        return {bytes_.data() + begin, ends_[id] - begin};
    }

private:
    std::string bytes_;
    std::vector<std::size_t> ends_;
};

/// From token bytes to id, for a chosen subset of a store's tokens. Open addressing.
class TokenIndex {
public:
    /// Room for `n` tokens; called once, before insert.
    void reserve(std::size_t n) {
        slots_.assign(std::bit_ceil(2 * n + 2), Slot{});
        mask_ = slots_.size() - 1;
    }

    /// The first of several tokens with equal bytes stays.
    void insert(const TokenStore& store, std::int32_t id) {
        const std::string_view bytes = store[static_cast<std::size_t>(id)];
        const std::uint64_t hash = hash_bytes(bytes);
        if (find(store, bytes, hash) >= 0) return;
        std::size_t at = hash & mask_;
        while (slots_[at].id >= 0)
            at = (at + 1) & mask_;
        slots_[at] = {static_cast<std::uint32_t>(hash >> 32), id};
    }

    /// The id, or -1.
    std::int32_t find(const TokenStore& store, std::string_view bytes) const noexcept {
        return find(store, bytes, hash_bytes(bytes));
    }

private:
    struct Slot {
        std::uint32_t hash = 0;
        std::int32_t id = -1;
    };

    std::int32_t find(const TokenStore& store, std::string_view bytes,
                      std::uint64_t hash) const noexcept {
        const auto tag = static_cast<std::uint32_t>(hash >> 32);
        for (std::size_t at = hash & mask_; slots_[at].id >= 0; at = (at + 1) & mask_) {
            if (slots_[at].hash == tag && store[static_cast<std::size_t>(slots_[at].id)] == bytes) {
                return slots_[at].id;
            }
        }
        return -1;
    }

    std::vector<Slot> slots_{Slot{}};
    std::size_t mask_ = 0;
};

/// From a code point to a symbol, in pages of 256.
class CharIndex {
public:
    std::int32_t find(char32_t cp) const noexcept {
        if (cp >= kCodePoints) return -1;
        return pages_[std::size_t{index_[cp >> 8]} << 8 | (cp & 0xff)];
    }

    void set(char32_t cp, std::int32_t symbol) {
        std::uint16_t& page = index_[cp >> 8];
        if (page == 0) {
            page = static_cast<std::uint16_t>(pages_.size() >> 8);
            pages_.resize(pages_.size() + 256, -1);
        }
        pages_[std::size_t{page} << 8 | (cp & 0xff)] = symbol;
    }

private:
    static constexpr char32_t kCodePoints = 0x110000;

    std::vector<std::uint16_t> index_ = std::vector<std::uint16_t>(kCodePoints >> 8, 0);
    std::vector<std::int32_t> pages_ = std::vector<std::int32_t>(256, -1); ///< page 0: nothing
};

/// A set of symbol pairs that may answer yes too often, never too seldom.
class PairSet {
public:
    void insert(std::int32_t a, std::int32_t b) { bits_[word(a, b)] |= bit(a, b); }

    bool contains(std::int32_t a, std::int32_t b) const noexcept {
        return (bits_[word(a, b)] & bit(a, b)) != 0;
    }

private:
    static constexpr unsigned kLogBits = 20;

    static std::uint64_t hash(std::int32_t a, std::int32_t b) noexcept {
        const std::uint64_t key =
            std::uint64_t{static_cast<std::uint32_t>(a)} << 32 | static_cast<std::uint32_t>(b);
        return ((key ^ key >> 29) * 0x9e3779b97f4a7c15U) >> (64 - kLogBits);
    }

    static std::size_t word(std::int32_t a, std::int32_t b) noexcept { return hash(a, b) >> 6; }

    static std::uint64_t bit(std::int32_t a, std::int32_t b) noexcept {
        return std::uint64_t{1} << (hash(a, b) & 63);
    }

    std::vector<std::uint64_t> bits_ = std::vector<std::uint64_t>(std::size_t{1} << (kLogBits - 6));
};

/// Words seen before and their ids: direct-mapped, so bounded and without eviction work. An entry
/// is one cache line; longer words and results are simply not kept.
class WordCache {
public:
    static constexpr std::size_t kEntries = 16384;
    static constexpr std::size_t kMaxWord = 26;
    static constexpr std::size_t kMaxIds = 8;

    std::span<const std::int32_t> find(std::string_view word) const noexcept {
        const Entry& entry = entries_[hash_bytes(word) % kEntries];
        if (entry.n_ids == 0 || std::string_view(entry.word, entry.n_bytes) != word) return {};
        return {entry.ids, entry.n_ids};
    }

    void insert(std::string_view word, std::span<const std::int32_t> ids) noexcept {
        if (word.size() > kMaxWord || ids.size() > kMaxIds || ids.empty()) return;
        Entry& entry = entries_[hash_bytes(word) % kEntries];
        entry.n_bytes = static_cast<std::uint8_t>(word.size());
        entry.n_ids = static_cast<std::uint8_t>(ids.size());
        std::memcpy(entry.word, word.data(), word.size());
        std::memcpy(entry.ids, ids.data(), ids.size_bytes());
    }

    void clear() { entries_.assign(kEntries, Entry{}); }

private:
    struct Entry {
        std::int32_t ids[kMaxIds];
        std::uint8_t n_bytes = 0;
        std::uint8_t n_ids = 0;
        char word[kMaxWord];
    };

    static_assert(sizeof(Entry) <= 64);

    std::vector<Entry> entries_;
};

} // namespace bloom::text
