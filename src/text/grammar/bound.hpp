#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <bloom/text/grammar/matcher.hpp>

#include "machine.hpp"
#include "mask_cache.hpp"
#include "token_trie.hpp"
#include "walker.hpp"

/// What is behind a BoundGrammar. Known to src/text/grammar only.
namespace bloom::text {

/// Masks that a bound grammar keeps, of states and of whole positions; with 250k tokens, about 250
/// full ones of each.
inline constexpr std::size_t kMaxStateMaskBytes = std::size_t{8} << 20;
inline constexpr std::size_t kMaxPositionMaskBytes = std::size_t{8} << 20;
/// Frames beyond which those that no matcher uses any more are looked for.
inline constexpr std::uint32_t kFramesBeforeCollection = std::uint32_t{1} << 15;

/// The positions of a matcher, now and before its last tokens.
struct MatcherStates {
    static constexpr std::size_t kSize = GrammarMatcher::kMaxRollback + 1;

    struct State {
        Position position;
        bool ended = false;
    };

    std::array<State, kSize> ring;
    std::size_t now = 0;    ///< in the ring
    std::size_t n_back = 0; ///< valid ones before

    State& current() noexcept { return ring[now]; }

    const State& current() const noexcept { return ring[now]; }

    State& following() noexcept { return ring[(now + 1) % kSize]; }

    void advance() noexcept {
        now = (now + 1) % kSize;
        n_back = std::min(n_back + 1, kSize - 1);
    }
};

struct BoundGrammar::Impl {
    Impl(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const GrammarVocab> vocab);

    /// Tokens that may follow; none behind a stop token.
    std::span<const std::uint64_t> mask(const Position& position, bool ended);
    /// Whether no token at all fits though the text is not complete: with a vocabulary that lacks
    /// bytes.
    bool stuck(const Position& position);
    /// Behind a token that is not a stop token; false where it does not fit.
    bool step(const Position& from, std::int32_t token, Position& out);
    bool step_bytes(const Position& from, std::string_view bytes, bool spell_tags, Position& out);
    /// Drops frames that no matcher uses, once there are many.
    void collect_frames();

    std::shared_ptr<const Grammar> grammar;
    std::shared_ptr<const GrammarVocab> vocab;
    Machine machine;
    std::vector<MatcherStates*> matchers;

private:
    /// What a state takes whatever its stack, but for a counter on top of it.
    struct StateKey {
        std::uint32_t state = 0;
        std::uint32_t rule = kNone;
        std::uint32_t count = 0;

        friend bool operator==(const StateKey&, const StateKey&) = default;
    };

    struct StateKeyHash {
        std::size_t operator()(const StateKey& key) const noexcept;
    };

    struct StateMask {
        TokenSet tokens;
        std::vector<std::uint32_t> leaves; ///< trie nodes from which the rest goes on elsewhere
    };

    using PositionKey = std::vector<Config>;

    struct PositionKeyHash {
        std::size_t operator()(const PositionKey& key) const noexcept;
    };

    void find_mask(const Position& position);
    void add_config(const Config& config);
    const StateMask& state_mask(const StateKey& key);
    void set_bit(std::int32_t id) noexcept;
    bool step_one(const Position& from, std::int32_t token, Position& out);

    const GrammarVocab::Impl& tokens_;
    std::vector<std::vector<std::int32_t>> tag_tokens_; ///< by tag
    std::vector<bool> tag_is_token_;
    std::vector<std::pair<std::int32_t, std::uint32_t>> tag_of_token_; ///< sorted
    Walker walker_;
    std::uint32_t max_frames_ = kFramesBeforeCollection;

    MaskCache<StateKey, StateMask, StateKeyHash, std::equal_to<>> state_masks_;
    MaskCache<PositionKey, TokenSet, PositionKeyHash, std::equal_to<>> position_masks_;
    PositionKey key_;
    std::vector<std::uint64_t> bits_;  ///< the mask being made or shown
    std::vector<std::uint64_t> local_; ///< the mask of one state being made
    std::vector<std::uint32_t> leaves_;
    Position scratch_;
    Position other_;
    Position single_;
};

} // namespace bloom::text
