#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <bloom/text/pretokenizer.hpp>

namespace bloom::text {

/// An added token as the matcher wants it.
struct AddedToken {
    std::int32_t id = -1;
    std::string_view text;
    bool special = false; ///< matched only where specials are allowed
    bool single_word = false;
    bool lstrip = false;
    bool rstrip = false;
};

/// Finds added tokens in a text: leftmost, of those the longest, all tokens in one pass over a byte
/// trie. A walk starts only at bytes that begin some token and ends with the first that fits none.
/// Thread: any after construction. Cost: O(text bytes x longest token) at worst, one table look-up
/// per byte in ordinary text.
class SpecialTokens {
public:
    SpecialTokens() = default;
    explicit SpecialTokens(std::span<const AddedToken> tokens);

    struct Match {
        std::int32_t id;
        ByteRange range; ///< with the white space that lstrip and rstrip take
    };

    struct Filter {
        bool parse_special = true;
        /// Sorted, not overlapping: special tokens that touch one of these are not matched.
        std::span<const ByteRange> user_ranges = {};
    };

    /// The first match at or after `from`; white space is never taken from before `from`.
    std::optional<Match> find(std::string_view text, std::size_t from, const Filter& filter) const;

    bool empty() const noexcept { return tokens_.empty(); }

private:
    struct Node {
        std::int32_t token = -1; ///< index in tokens_ that ends here
        std::uint32_t first_edge = 0;
        std::uint32_t n_edges = 0;
    };

    struct Edge {
        std::uint8_t byte;
        std::uint32_t node;
    };

    struct Rule {
        std::int32_t id;
        bool special, single_word, lstrip, rstrip;
    };

    const Edge* step(const Node& node, std::uint8_t byte) const noexcept;
    bool allowed(const Rule& rule, std::string_view text, ByteRange range,
                 const Filter& filter) const;

    std::vector<Node> nodes_;
    std::vector<Edge> edges_; ///< sorted by byte within a node
    std::vector<Rule> tokens_;
    std::array<bool, 256> starts_{};
};

} // namespace bloom::text
