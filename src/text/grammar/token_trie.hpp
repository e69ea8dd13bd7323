#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <bloom/text/grammar/matcher.hpp>

/// What is behind a GrammarVocab. Known to src/text/grammar only.
namespace bloom::text {

/// Longer tokens are never allowed: they are runs of one character, and the longest token decides
/// how close to its bound a counter needs masks of its own.
inline constexpr std::size_t kMaxGrammarTokenBytes = 32;

struct GrammarVocab::Impl {
    /// Nodes in preorder of the sorted tokens, so a walk reads them one after the other.
    struct Node {
        std::uint32_t skip = 0;        ///< the first node that is not below this one
        std::uint32_t first_token = 0; ///< in `tokens`; those of the node itself end where the
                                       ///< next node's begin
        std::uint8_t byte = 0;         ///< on the way into it
        std::uint8_t depth = 0;        ///< bytes from the root, 1 at least
        bool plain = false;            ///< all bytes below it are is_plain()
    };

    /// Letters of ASCII that strings of JSON hold as they are: what most tokens are made of.
    static constexpr bool is_plain(unsigned byte) noexcept {
        return byte >= 0x20 && byte <= 0x7e && byte != '"' && byte != '\\';
    }

    enum class Role : std::uint8_t { never, text, tag, stop };

    std::int32_t n_rows = 0;
    std::vector<Node> nodes;          ///< and one behind the last
    std::vector<std::int32_t> tokens; ///< ordinary tokens by their bytes
    std::uint32_t max_token_bytes = 0;

    std::vector<Role> roles; ///< by id
    std::vector<std::uint32_t> ends;
    std::string bytes;               ///< of ordinary tokens, by id: [ends[id - 1], ends[id])
    std::vector<std::int32_t> stops; ///< below n_rows
    std::unordered_map<std::string, std::vector<std::int32_t>> tags; ///< by their text

    std::size_t n_words() const noexcept { return (static_cast<std::size_t>(n_rows) + 63) / 64; }

    Role role(std::int32_t id) const noexcept {
        return id >= 0 && static_cast<std::size_t>(id) < roles.size()
                   ? roles[static_cast<std::size_t>(id)]
                   : Role::never;
    }

    std::string_view bytes_of(std::int32_t id) const noexcept {
        const auto at = static_cast<std::size_t>(id);
        const std::size_t begin = at == 0 ? 0 : ends[at - 1];
        return std::string_view(bytes).substr(begin, ends[at] - begin);
    }
};

} // namespace bloom::text
