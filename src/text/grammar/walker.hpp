#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "machine.hpp"
#include "token_trie.hpp"

namespace bloom::text {

/// Runs many tokens at once from one position: walks the trie of the vocabulary and keeps the
/// positions it has met with their steps, a deterministic automaton made on demand.
class Walker {
public:
    /// Configurations that the walks for one mask may look at. Beyond, only tokens of
    /// one byte are found: fewer than fit, but enough to go on.
    static constexpr std::uint64_t kMaxWork = std::uint64_t{1} << 18;

    Walker(const GrammarVocab::Impl& vocab, Machine& machine, const std::vector<bool>& skip_tags);

    /// Forgets positions, before frames they name are taken back.
    void reset() noexcept { n_met_ = 0; }

    /// The work starts to count from here.
    void start_work() noexcept { max_visited_ = machine_.n_visited() + kMaxWork; }

    /// Sets the bits of all tokens below trie nodes [first, last), which are the children of one
    /// node and what is below them, that fit behind `from`. `leaves`, where wanted: nodes at which
    /// a frame with kLeaves was popped and below which there are more tokens.
    void walk(std::uint32_t first, std::uint32_t last, const Position& from,
              std::span<std::uint64_t> bits, std::vector<std::uint32_t>* leaves);

private:
    using Id = std::uint16_t;

    /// Positions of one walk; more than a token is long, with room for the common case.
    static constexpr std::size_t kMaxMet = 4096;
    static constexpr Id kUnknown = 0xffff;
    static constexpr Id kDead = 0xfffe;
    static_assert(kMaxMet > 2 * (kMaxGrammarTokenBytes + 1));

    Id meet(const Position& position);
    Id step(Id from, std::uint8_t byte, std::span<Id> path);
    void make_room(std::span<Id> path);
    bool stays(Id id, std::span<Id> path);

    const GrammarVocab::Impl& vocab_;
    Machine& machine_;
    const std::vector<bool>& skip_tags_;
    std::uint64_t max_visited_ = 0;
    std::size_t n_met_ = 0;
    std::vector<Position> met_;
    std::vector<std::array<Id, 256>> next_;
    enum class Stays : std::uint8_t { unknown, yes, no };
    std::vector<Stays> stays_; ///< by position: whether plain letters lead back to it
    std::vector<Id> slots_;    ///< open addressing into met_
    Position scratch_;
    std::vector<Position> kept_;
};

} // namespace bloom::text
