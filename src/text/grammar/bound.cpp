#include "bound.hpp"

#include <algorithm>
#include <new>

#include <bloom/base/check.hpp>

namespace bloom::text {
namespace {

std::uint64_t mix(std::uint64_t h, std::uint64_t value) noexcept {
    h = (h ^ value) * 0x9e3779b97f4a7c15U;
    return h ^ h >> 32;
}

} // namespace

std::size_t BoundGrammar::Impl::StateKeyHash::operator()(const StateKey& key) const noexcept {
    return mix(mix(key.state, key.rule), key.count);
}

std::size_t BoundGrammar::Impl::PositionKeyHash::operator()(const PositionKey& key) const noexcept {
    std::uint64_t h = key.size();
    for (const Config& config : key)
        h = mix(h, std::uint64_t{config.state} << 32 | config.stack);
    return h;
}

BoundGrammar::Impl::Impl(std::shared_ptr<const Grammar> grammar_,
                         std::shared_ptr<const GrammarVocab> vocab_)
    : grammar(std::move(grammar_)), vocab(std::move(vocab_)),
      machine(*grammar, std::max(vocab->impl().max_token_bytes, 1U)), tokens_(vocab->impl()),
      walker_(tokens_, machine, tag_is_token_), state_masks_(kMaxStateMaskBytes),
      position_masks_(kMaxPositionMaskBytes), bits_(tokens_.n_words(), 0),
      local_(tokens_.n_words(), 0) {
    for (std::uint32_t tag = 0; tag < grammar->tags.size(); ++tag) {
        const auto found = tokens_.tags.find(grammar->tags[tag]);
        std::vector<std::int32_t>& ids = tag_tokens_.emplace_back();
        if (found != tokens_.tags.end()) ids = found->second;
        tag_is_token_.push_back(!ids.empty());
        for (const std::int32_t id : ids)
            tag_of_token_.emplace_back(id, tag);
    }
    std::sort(tag_of_token_.begin(), tag_of_token_.end());
}

void BoundGrammar::Impl::set_bit(std::int32_t id) noexcept {
    bits_[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << id % 64;
}

bool BoundGrammar::Impl::step_bytes(const Position& from, std::string_view bytes, bool spell_tags,
                                    Position& out) {
    const Position* at = &from;
    for (const char c : bytes) {
        Position& next = at == &scratch_ ? other_ : scratch_;
        Machine::Run run;
        machine.step(*at, static_cast<std::uint8_t>(c), spell_tags ? nullptr : &tag_is_token_, run,
                     next);
        if (next.empty()) return false;
        at = &next;
    }
    if (at == &from) {
        out = from;
    } else {
        std::swap(out, at == &scratch_ ? scratch_ : other_);
    }
    return true;
}

bool BoundGrammar::Impl::step(const Position& from, std::int32_t token, Position& out) {
    const std::uint64_t n_dropped = machine.n_dropped();
    if (step_one(from, token, out)) return true;
    if (machine.n_dropped() == n_dropped) return false;
    // Masks look at one configuration at a time; what fits one of them must not be refused because
    // all together were too many.
    for (const Config& config : from.configs) {
        single_.clear();
        single_.configs.push_back(config);
        if (step_one(single_, token, out)) return true;
    }
    return false;
}

bool BoundGrammar::Impl::step_one(const Position& from, std::int32_t token, Position& out) {
    const GrammarVocab::Impl::Role role = tokens_.role(token);
    if (role == GrammarVocab::Impl::Role::text) {
        return step_bytes(from, tokens_.bytes_of(token), false, out);
    }
    const auto found = std::lower_bound(tag_of_token_.begin(), tag_of_token_.end(),
                                        std::pair(token, std::uint32_t{0}));
    if (found == tag_of_token_.end() || found->first != token) return false;
    machine.step_tag(from, found->second, scratch_);
    if (scratch_.empty()) return false;
    std::swap(out, scratch_);
    return true;
}

std::span<const std::uint64_t> BoundGrammar::Impl::mask(const Position& position, bool ended) {
    if (ended) {
        std::fill(bits_.begin(), bits_.end(), 0);
        return bits_;
    }
    key_.clear();
    for (const Config& config : position.configs)
        key_.push_back({config.state, machine.stacks()[config.stack].same});
    std::sort(key_.begin(), key_.end());
    key_.erase(std::unique(key_.begin(), key_.end()), key_.end());
    key_.push_back({kNone, position.ends ? 1U : 0U});
    if (const TokenSet* known = position_masks_.find(key_)) {
        if (!known->words().empty()) return known->words();
        std::fill(bits_.begin(), bits_.end(), 0);
        known->add_to(bits_);
        return bits_;
    }
    find_mask(position);
    TokenSet tokens(bits_);
    const std::size_t n_bytes = tokens.n_bytes() + key_.size() * sizeof(Config);
    position_masks_.add(key_, std::move(tokens), n_bytes);
    return bits_;
}

bool BoundGrammar::Impl::stuck(const Position& position) {
    if (position.ends || tokens_.stops.empty()) return false;
    for (const Config& config : position.configs) {
        const std::uint32_t tag = grammar->states[config.state].tag;
        if (tag != kNone && tag_is_token_[tag]) return false;
    }
    // Then stop tokens are in the mask for no other reason.
    const auto id = static_cast<std::size_t>(tokens_.stops[0]);
    return (mask(position, false)[id / 64] >> id % 64 & 1) != 0;
}

void BoundGrammar::Impl::find_mask(const Position& position) {
    const std::uint32_t n_frames = machine.stacks().size();
    std::fill(bits_.begin(), bits_.end(), 0);
    walker_.reset();
    walker_.start_work();
    for (const Config& config : position.configs)
        add_config(config);
    walker_.reset();
    machine.stacks().shrink(n_frames);
    const bool none =
        std::all_of(bits_.begin(), bits_.end(), [](std::uint64_t word) { return word == 0; });
    if (position.ends || none) {
        for (const std::int32_t id : tokens_.stops)
            set_bit(id);
    }
}

/// What one configuration allows.
void BoundGrammar::Impl::add_config(const Config& config) {
    const Grammar::State& state = grammar->states[config.state];
    if (state.tag != kNone && tag_is_token_[state.tag]) {
        for (const std::int32_t id : tag_tokens_[state.tag])
            set_bit(id);
        return;
    }
    const auto n_nodes = static_cast<std::uint32_t>(tokens_.nodes.size() - 1);
    const Stacks::Frame frame = machine.stacks()[config.stack];
    // Near the bound on the depth, what a token may do depends on the depth.
    if (frame.depth + grammar->max_need + tokens_.max_token_bytes + 1 > kMaxGrammarDepth) {
        scratch_.clear();
        scratch_.configs.push_back(config);
        walker_.walk(0, n_nodes, scratch_, bits_, nullptr);
        return;
    }
    StateKey key{.state = config.state};
    if (frame.rule != kNone) {
        key.rule = frame.rule;
        key.count = machine.stacks().representative(frame.rule, frame.count);
    }
    const StateMask& local = state_mask(key);
    local.tokens.add_to(bits_);
    if (local.leaves.empty() || config.stack == kBottom) return;
    machine.leave(config.stack, scratch_);
    if (scratch_.configs.empty()) return;
    for (const std::uint32_t node : local.leaves)
        walker_.walk(node + 1, tokens_.nodes[node].skip, scratch_, bits_, nullptr);
}

const BoundGrammar::Impl::StateMask& BoundGrammar::Impl::state_mask(const StateKey& key) {
    if (const StateMask* known = state_masks_.find(key)) return *known;
    std::fill(local_.begin(), local_.end(), 0);
    leaves_.clear();
    scratch_.clear();
    scratch_.configs.push_back(
        {key.state, machine.stacks().push(kBottom, kLeaves, key.rule, key.count)});
    walker_.walk(0, static_cast<std::uint32_t>(tokens_.nodes.size() - 1), scratch_, local_,
                 &leaves_);
    StateMask made{TokenSet(local_), leaves_};
    const std::size_t n_bytes = made.tokens.n_bytes() + made.leaves.size() * sizeof(std::uint32_t);
    return state_masks_.add(key, std::move(made), n_bytes);
}

void BoundGrammar::Impl::collect_frames() {
    Stacks& stacks = machine.stacks();
    if (stacks.size() <= max_frames_) return;
    const auto all_configs = [&](auto&& each) {
        for (MatcherStates* states : matchers) {
            for (std::size_t back = 0; back <= states->n_back; ++back) {
                constexpr std::size_t kSize = MatcherStates::kSize;
                Position& position = states->ring[(states->now + kSize - back) % kSize].position;
                for (Config& config : position.configs)
                    each(config);
            }
        }
    };
    std::vector<std::uint32_t> moved(stacks.size(), kNone);
    std::vector<bool> used(stacks.size(), false);
    all_configs([&](const Config& config) {
        for (std::uint32_t at = config.stack; at != kBottom && !used[at]; at = stacks[at].parent)
            used[at] = true;
    });
    std::vector<Stacks::Frame> frames;
    for (std::uint32_t i = 1; i < stacks.size(); ++i) {
        if (used[i]) frames.push_back(stacks[i]);
    }
    std::size_t next = 0;
    const std::uint32_t n_before = stacks.size();
    stacks.clear();
    moved[kBottom] = kBottom;
    for (std::uint32_t i = 1; i < n_before; ++i) {
        if (!used[i]) continue;
        const Stacks::Frame& frame = frames[next++]; // parents are older than their children
        moved[i] = stacks.push(moved[frame.parent], frame.target, frame.rule, frame.count);
    }
    all_configs([&](Config& config) { config.stack = moved[config.stack]; });
    position_masks_.clear(); // their keys name frames
    max_frames_ = std::max(kFramesBeforeCollection, 2 * stacks.size());
}

BoundGrammar::BoundGrammar(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}

BoundGrammar::~BoundGrammar() = default;

Result<std::shared_ptr<BoundGrammar>>
BoundGrammar::create(std::shared_ptr<const Grammar> grammar,
                     std::shared_ptr<const GrammarVocab> vocab) {
    BLOOM_CHECK(grammar != nullptr);
    BLOOM_CHECK(vocab != nullptr);
    try {
        return std::shared_ptr<BoundGrammar>(
            new BoundGrammar(std::make_unique<Impl>(std::move(grammar), std::move(vocab))));
    } catch (const std::bad_alloc&) {
        return Error{Code::out_of_memory, "no memory for the masks of a grammar"};
    }
}

} // namespace bloom::text
