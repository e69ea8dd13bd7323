#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace bloom::text {

/// A set of token ids: their list while it is short, otherwise a bit each.
class TokenSet {
public:
    TokenSet() = default;

    explicit TokenSet(std::span<const std::uint64_t> bits) {
        std::size_t n = 0;
        for (const std::uint64_t word : bits)
            n += static_cast<std::size_t>(std::popcount(word));
        // A list is set bit by bit, about eight times slower than whole words are copied.
        if (n >= bits.size() / 8) {
            words_.assign(bits.begin(), bits.end());
            return;
        }
        ids_.reserve(n);
        for (std::size_t i = 0; i < bits.size(); ++i) {
            for (std::uint64_t word = bits[i]; word != 0; word &= word - 1) {
                ids_.push_back(static_cast<std::uint32_t>(
                    i * 64 + static_cast<std::size_t>(std::countr_zero(word))));
            }
        }
    }

    void add_to(std::span<std::uint64_t> bits) const noexcept {
        for (std::size_t i = 0; i < words_.size(); ++i)
            bits[i] |= words_[i];
        for (const std::uint32_t id : ids_)
            bits[id / 64] |= std::uint64_t{1} << id % 64;
    }

    /// The bits, where they are stored as such.
    std::span<const std::uint64_t> words() const noexcept { return words_; }

    std::size_t n_bytes() const noexcept {
        return words_.size() * sizeof(std::uint64_t) + ids_.size() * sizeof(std::uint32_t);
    }

private:
    std::vector<std::uint64_t> words_;
    std::vector<std::uint32_t> ids_;
};

/// Keeps what was used last, up to a number of bytes.
template <class Key, class Value, class Hash, class Equal>
class MaskCache {
public:
    explicit MaskCache(std::size_t max_bytes) : max_bytes_(max_bytes) {}

    template <class Look>
    Value* find(const Look& key) {
        const auto found = index_.find(key);
        if (found == index_.end()) return nullptr;
        entries_.splice(entries_.begin(), entries_, found->second);
        return &found->second->value;
    }

    /// The key must be new. `n_bytes`: what the value holds.
    Value& add(Key key, Value value, std::size_t n_bytes) {
        n_bytes += kEntryBytes;
        while (!entries_.empty() && bytes_ + n_bytes > max_bytes_) {
            bytes_ -= entries_.back().n_bytes;
            index_.erase(entries_.back().key);
            entries_.pop_back();
        }
        entries_.push_front({std::move(key), std::move(value), n_bytes});
        index_.emplace(entries_.front().key, entries_.begin());
        bytes_ += n_bytes;
        return entries_.front().value;
    }

    void clear() {
        index_.clear();
        entries_.clear();
        bytes_ = 0;
    }

    std::size_t size() const noexcept { return entries_.size(); }

private:
    static constexpr std::size_t kEntryBytes = 256; ///< key, links, index; roughly

    struct Entry {
        Key key;
        Value value;
        std::size_t n_bytes;
    };

    std::size_t max_bytes_;
    std::size_t bytes_ = 0;
    std::list<Entry> entries_; ///< last used first
    std::unordered_map<Key, typename std::list<Entry>::iterator, Hash, Equal> index_;
};

} // namespace bloom::text
