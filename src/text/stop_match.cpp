#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/text/stop_match.hpp>

namespace bloom::text {

Result<std::shared_ptr<const StopStrings>>
StopStrings::create(std::span<const std::string> strings) {
    if (strings.size() > kMaxStopStrings) {
        return Error{Code::limit_reached,
                     fmt::format("{} stop strings given; at most {} are allowed", strings.size(),
                                 kMaxStopStrings)};
    }
    const std::shared_ptr<StopStrings> made(new StopStrings);
    auto& nodes = made->nodes_;
    nodes.emplace_back();
    for (std::size_t i = 0; i < strings.size(); ++i) {
        const std::string& text = strings[i];
        if (text.empty()) {
            return Error{Code::invalid_argument, fmt::format("stop string {} is empty", i)};
        }
        if (text.size() > kMaxStopBytes) {
            return Error{Code::too_large, fmt::format("stop string {} has {} bytes; at most {} are "
                                                      "allowed",
                                                      i, text.size(), kMaxStopBytes)};
        }
        std::uint32_t at = 0;
        for (const char c : text) {
            const auto byte = static_cast<std::uint8_t>(c);
            std::uint32_t next = made->child(at, byte);
            if (next == kNone) {
                next = static_cast<std::uint32_t>(nodes.size());
                Node node;
                node.next_sibling = nodes[at].first_child;
                node.depth = static_cast<std::uint16_t>(nodes[at].depth + 1);
                node.byte = byte;
                nodes[at].first_child = next;
                nodes.push_back(node);
            }
            at = next;
        }
        if (nodes[at].match == 0) nodes[at].match = static_cast<std::uint16_t>(i + 1);
        made->strings_.push_back(text);
    }
    // Failure links breadth first; a node without a string of its own takes the longest that ends
    // with it, which its failure link has already.
    std::vector<std::uint32_t> queue{0};
    for (std::size_t q = 0; q < queue.size(); ++q) {
        const std::uint32_t parent = queue[q];
        for (std::uint32_t n = nodes[parent].first_child; n != kNone; n = nodes[n].next_sibling) {
            nodes[n].fail = parent == 0 ? 0 : made->step(nodes[parent].fail, nodes[n].byte);
            if (nodes[n].match == 0) nodes[n].match = nodes[nodes[n].fail].match;
            queue.push_back(n);
        }
    }
    return made;
}

std::uint32_t StopStrings::child(std::uint32_t node, std::uint8_t byte) const noexcept {
    std::uint32_t n = nodes_[node].first_child; // at most kMaxStopStrings of them
    while (n != kNone && nodes_[n].byte != byte)
        n = nodes_[n].next_sibling;
    return n;
}

std::uint32_t StopStrings::step(std::uint32_t node, std::uint8_t byte) const noexcept {
    for (;;) {
        if (const std::uint32_t next = child(node, byte); next != kNone) return next;
        if (node == 0) return 0;
        node = nodes_[node].fail;
    }
}

StopMatcher::StopMatcher(std::shared_ptr<const StopStrings> strings)
    : strings_(std::move(strings)) {
    BLOOM_CHECK(strings_ != nullptr);
}

std::optional<std::size_t> StopMatcher::push(std::string_view text, std::string& out) {
    if (matched_) return matched_;
    if (strings_->size() == 0) {
        out += text;
        return std::nullopt;
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
        state_ = strings_->step(state_, static_cast<std::uint8_t>(text[i]));
        const std::uint16_t match = strings_->nodes_[state_].match;
        if (match == 0) continue;
        matched_ = match - 1u;
        held_ += text.substr(0, i + 1);
        const std::size_t match_bytes = (*strings_)[*matched_].size();
        BLOOM_CHECK(match_bytes <= held_.size());
        out.append(held_, 0, held_.size() - match_bytes);
        held_.clear();
        return matched_;
    }
    held_ += text;
    // The last `depth` bytes may be the start of a stop string. If they begin inside a character (a
    // stop string may be any bytes), all of that character waits.
    const std::size_t depth = strings_->nodes_[state_].depth;
    BLOOM_CHECK(depth <= held_.size());
    std::size_t keep_from = held_.size() - depth;
    while (keep_from > 0 && keep_from < held_.size() &&
           (static_cast<unsigned char>(held_[keep_from]) & 0xc0) == 0x80) {
        --keep_from;
    }
    out.append(held_, 0, keep_from);
    held_.erase(0, keep_from);
    return std::nullopt;
}

void StopMatcher::finish(std::string& out) {
    out += held_;
    held_.clear();
}

} // namespace bloom::text
