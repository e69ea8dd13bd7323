#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>

namespace bloom::text {

/// Bounds of a request's stop strings.
inline constexpr std::size_t kMaxStopStrings = 16;
inline constexpr std::size_t kMaxStopBytes = 512;

/// The stop strings of one request as an Aho-Corasick automaton over bytes.
/// Thread: immutable after create, shareable by the choices of a request.
class StopStrings {
public:
    /// Errors: invalid_argument (an empty string), limit_reached (more than 16), too_large (over
    /// 512 bytes), naming which. No strings make an automaton that never matches.
    static Result<std::shared_ptr<const StopStrings>> create(std::span<const std::string> strings);

    std::size_t size() const noexcept { return strings_.size(); }

    /// The string with this index, in the order given.
    std::string_view operator[](std::size_t i) const noexcept { return strings_[i]; }

private:
    friend class StopMatcher;

    static constexpr std::uint32_t kNone = 0xffffffff;

    struct Node {
        std::uint32_t first_child = kNone;
        std::uint32_t next_sibling = kNone;
        std::uint32_t fail = 0;
        std::uint16_t depth = 0;
        std::uint16_t match = 0; ///< 1 + index of the longest string that ends here, 0 = none
        std::uint8_t byte = 0;   ///< on the edge from the parent
    };

    StopStrings() = default;
    std::uint32_t child(std::uint32_t node, std::uint8_t byte) const noexcept;
    std::uint32_t step(std::uint32_t node, std::uint8_t byte) const noexcept;

    std::vector<std::string> strings_;
    std::vector<Node> nodes_;
};

/// Runs the visible text of one choice through the stop strings, whatever its pieces. A tail that
/// may still become a stop string is held back; the match itself and all after it never come out.
/// Of several matches the one that ends first wins, of those that end together the longest.
/// Input must be whole characters (Detokenizer's output); then output pieces end on whole
/// characters too, also where a held tail starts inside one: the earlier of the two limits counts.
/// Cost: O(bytes). Thread: one.
class StopMatcher {
public:
    explicit StopMatcher(std::shared_ptr<const StopStrings> strings);

    /// Appends to `out` what can no longer be part of a match. Returns the index of the string that
    /// matched, if one did; from then on push and finish give nothing.
    std::optional<std::size_t> push(std::string_view text, std::string& out);
    /// The text has ended: appends what was held back.
    void finish(std::string& out);

    std::optional<std::size_t> matched() const noexcept { return matched_; }

    std::size_t held() const noexcept { return held_.size(); }

private:
    std::shared_ptr<const StopStrings> strings_;
    std::uint32_t state_ = 0;
    std::string held_; ///< not yet out; at most kMaxStopBytes + 3 between pushes
    std::optional<std::size_t> matched_;
};

} // namespace bloom::text
