#include <algorithm>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/text/grammar/matcher.hpp>

#include "bound.hpp"

namespace bloom::text {

struct GrammarMatcher::Impl : MatcherStates {
    explicit Impl(std::shared_ptr<BoundGrammar> grammar) : bound(std::move(grammar)) {
        shared().matchers.push_back(this);
    }

    Impl(const Impl& other) : MatcherStates(other), bound(other.bound) {
        shared().matchers.push_back(this);
    }

    Impl& operator=(const Impl&) = delete;

    ~Impl() {
        auto& all = shared().matchers;
        *std::find(all.begin(), all.end(), this) = all.back();
        all.pop_back();
    }

    BoundGrammar::Impl& shared() const noexcept { return bound->impl(); }

    std::shared_ptr<BoundGrammar> bound;
};

GrammarMatcher::GrammarMatcher(std::shared_ptr<BoundGrammar> bound)
    : impl_(std::make_unique<Impl>(std::move(bound))) {
    impl_->shared().machine.start(impl_->current().position);
}

GrammarMatcher::~GrammarMatcher() = default;

GrammarMatcher::GrammarMatcher(const GrammarMatcher& other)
    : impl_(std::make_unique<Impl>(*other.impl_)) {}

GrammarMatcher& GrammarMatcher::operator=(const GrammarMatcher& other) {
    if (this != &other) impl_ = std::make_unique<Impl>(*other.impl_);
    return *this;
}

GrammarMatcher::GrammarMatcher(GrammarMatcher&&) noexcept = default;
GrammarMatcher& GrammarMatcher::operator=(GrammarMatcher&&) noexcept = default;

std::span<const std::uint64_t> GrammarMatcher::mask() {
    return impl_->shared().mask(impl_->current().position, impl_->current().ended);
}

bool GrammarMatcher::accept(std::int32_t token) {
    BoundGrammar::Impl& shared = impl_->shared();
    shared.collect_frames();
    const MatcherStates::State& now = impl_->current();
    if (now.ended) return false;
    MatcherStates::State& next = impl_->following();
    const bool stop = shared.vocab->impl().role(token) == GrammarVocab::Impl::Role::stop;
    if (stop && (now.position.ends || shared.stuck(now.position))) {
        next.position.clear();
        next.ended = true;
        impl_->advance();
        return true;
    }
    if (!shared.step(now.position, token, next.position)) {
        return false;
    }
    next.ended = false;
    impl_->advance();
    return true;
}

bool GrammarMatcher::accept_bytes(std::string_view bytes) {
    BoundGrammar::Impl& shared = impl_->shared();
    shared.collect_frames();
    MatcherStates::State& now = impl_->current();
    if (now.ended) return false;
    if (!shared.step_bytes(now.position, bytes, true, now.position)) return false;
    impl_->n_back = 0;
    return true;
}

bool GrammarMatcher::can_end() const {
    return impl_->current().ended || impl_->current().position.ends;
}

bool GrammarMatcher::must_end() const {
    return impl_->current().position.configs.empty();
}

bool GrammarMatcher::ended() const noexcept {
    return impl_->current().ended;
}

void GrammarMatcher::rollback(std::int32_t n) {
    BLOOM_CHECK(n >= 0);
    BLOOM_CHECK(static_cast<std::size_t>(n) <= impl_->n_back);
    const auto back = static_cast<std::size_t>(n);
    impl_->now = (impl_->now + MatcherStates::kSize - back) % MatcherStates::kSize;
    impl_->n_back -= back;
}

} // namespace bloom::text
