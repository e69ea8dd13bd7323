#include <algorithm>
#include <bit>
#include <new>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/base/log.hpp>

#include "engine/engine_impl.hpp"

/// What a step computes, and what follows from the tokens it draws.
namespace bloom::engine {
namespace {

/// What samplers need for themselves even where few tokens can be drawn.
constexpr std::size_t kLeastScratch = 8192;

} // namespace

void RateMeter::add(std::int64_t now_ms, std::int64_t n) noexcept {
    if (since_ms_ < 0 || now_ms < since_ms_) since_ms_ = now_ms;
    const std::int64_t passed = now_ms - since_ms_;
    if (passed >= kWindowMs) {
        rate_ = static_cast<double>(count_) * 1000.0 / static_cast<double>(passed);
        since_ms_ = now_ms;
        count_ = 0;
    }
    count_ += n;
}

bool EngineImpl::step(EventSink& sink, std::int64_t now_ms) {
    for (const auto& request : requests_) {
        if (request->starved && !request->ended) starve(*request);
    }
    expire(now_ms);
    prepare_some();
    if (broken_.empty()) {
        try {
            compute_step(now_ms);
        } catch (const std::bad_alloc&) {
            options_.team->end_step();
            starve_step();
        }
    }
    if (!broken_.empty()) {
        for (const auto& request : requests_) {
            if (!request->ended) end_request(*request, gen::Failure::provider, broken_);
        }
    }
    deliver(sink);
    return !unprepared_.empty() || has_events_ || batcher_.has_work();
}

/// Memory was missing for a request: it ends, the others go on. What its sequences hold is free
/// when this returns; its last event may have to wait for memory.
void EngineImpl::starve(Request& request) noexcept {
    request.starved = true;
    has_events_ = true; // look again
    drop_sequences(request);
    try {
        fail(request, gen::Failure::provider, "out of memory"); // short enough for no allocation
    } catch (const std::bad_alloc&) {
        log::warn("out of memory; a request cannot even be told");
    }
}

void EngineImpl::starve_step() noexcept {
    bool any = false;
    const auto end = [&](Request* request) {
        if (request == nullptr || request->ended) return;
        starve(*request);
        any = true;
    };
    // First those in the middle of an end: their sequences may be gone already.
    for (const Draw& d : draws_)
        end(d.request);
    draws_.clear();
    for (const Batcher::Item& item : batcher_.step().items)
        end(owner(item.seq).request);
    if (any) return;
    // Not even a step could be put together: the latest makes way.
    const auto latest = std::find_if(requests_.rbegin(), requests_.rend(),
                                     [](const auto& request) { return !request->ended; });
    if (latest != requests_.rend()) starve(**latest);
}

/// What samplers of all workers need, on this thread: memory that is missing is an error here and
/// the end of the process there.
void EngineImpl::reserve_scratch() {
    // Samplers round up to powers of two.
    const std::size_t n =
        std::bit_ceil(std::max(static_cast<std::size_t>(info_.vocab_rows), kLeastScratch));
    for (SamplerScratch& s : scratch_) {
        s.logits.reserve(n);
        s.ids.reserve(n);
        s.values.reserve(n);
        s.weights.reserve(n);
        s.sums.reserve(n);
        s.candidates.reserve(n);
        s.ends.reserve(n);
    }
}

Result<> EngineImpl::run_backend(const Batcher::Step& step) {
    BLOOM_TRY(const compute::CompiledId plan,
              plans_.get(step.phase, step.tokens.size(), step.logit_rows.size()));
    return backend_->run(plan, step.inputs(static_cast<std::int32_t>(store_.n_groups())));
}

void EngineImpl::break_down(const Error& error) {
    broken_ = error.message();
    log::error("model {} cannot compute any more: {}", info_.name, broken_);
}

void EngineImpl::compute_step(std::int64_t now_ms) {
    draws_.clear();
    propose_drafts();
    const Batcher::Step& step = batcher_.schedule();
    if (step.empty()) {
        decode_rate_.add(now_ms, 0);
        prefill_rate_.add(now_ms, 0);
        return;
    }
    report_starts(step);
    options_.team->begin_step();
    if (const Result<> ran = run_backend(step); !ran) {
        options_.team->end_step();
        break_down(ran.error());
        return;
    }
    batcher_.complete();
    collect_draws(step);
    std::int64_t n_drawn = 0;
    while (!draws_.empty()) {
        draw_tokens();
        n_drawn += static_cast<std::int64_t>(draws_.size());
        const bool more =
            std::ranges::any_of(draws_, [](const Draw& d) { return d.n_drafts > d.n_true; });
        if (!more) options_.team->end_step();
        take_draws(step);
    }
    if (head_) {
        options_.team->begin_step();
        if (const Result<> followed = follow_with_head(step); !followed)
            break_down(followed.error());
    }
    options_.team->end_step();
    std::int64_t n_prefill = 0;
    for (const Batcher::Item& item : step.items)
        n_prefill += item.end - item.begin == item.n_logits ? 0 : item.end - item.begin;
    decode_rate_.add(now_ms, n_drawn);
    prefill_rate_.add(now_ms, n_prefill);
    ++capacity_sequence_;
}

/// Takes what was drawn and leaves the draws that follow from guesses that came true.
void EngineImpl::take_draws(const Batcher::Step& step) {
    std::size_t n_left = 0;
    for (Draw& d : draws_) {
        if (d.request->ended) continue; // through another choice
        if (d.token < 0) {
            fail(*d.request, gen::Failure::provider, "no token fits the demanded format");
            continue;
        }
        // Masks and steps drop readings of very ambiguous grammars apart from one another.
        if (d.choice->matcher && !d.choice->matcher->accept(d.token)) {
            fail(*d.request, gen::Failure::provider, "the demanded format cannot be followed");
            continue;
        }
        take_token(*d.request, *d.choice, d.token,
                   d.choice->sampler.tells_logprobs() ? &d.told : nullptr);
        const bool guessed = d.n_true < d.n_drafts;
        const bool came_true =
            guessed && step.tokens[static_cast<std::size_t>(d.draft_row)] == d.token;
        d.n_true += came_true ? 1 : 0;
        if (!came_true || d.choice->done) {
            if (head_) {
                d.choice->head_record.learn(d.n_drafts, d.n_true);
            } else {
                d.choice->lookup.learn(d.n_drafts, d.n_true);
            }
            continue;
        }
        ++d.logit_row;
        ++d.draft_row;
        draws_[n_left++] = d;
    }
    draws_.resize(n_left);
}

void EngineImpl::report_starts(const Batcher::Step& step) {
    for (const Batcher::Item& item : step.items) {
        if (item.cached < 0) continue;
        Request& request = *owner(item.seq).request;
        request.usage.cached_tokens += item.cached;
        if (request.started) continue;
        request.started = true;
        push_event(request, gen::EventKind::started).usage = request.usage;
    }
}

void EngineImpl::collect_draws(const Batcher::Step& step) {
    draws_.clear();
    for (const Batcher::Item& item : step.items) {
        if (item.logit_row < 0) continue;
        const Owner first = owner(item.seq);
        draws_.push_back({first.request,
                          first.choice,
                          item.logit_row,
                          item.row + 1,
                          item.n_logits - 1,
                          0,
                          -1,
                          {}});
        if (first.choice->n_generated > 0) continue;
        // The prompt is computed: the other choices of it go their own ways from here.
        const auto copy = [&](std::size_t group, std::int32_t from, std::int32_t to) {
            backend_->copy_page(static_cast<compute::KvPoolId>(group), from, to);
        };
        for (const auto& other : first.request->choices) {
            if (other->prompt != first.choice->prompt || other.get() == first.choice ||
                other->done || other->seq != SeqId::none) {
                continue;
            }
            own(batcher_.fork(item.seq, copy), *first.request, *other);
            draws_.push_back({first.request, other.get(), item.logit_row, 0, 0, 0, -1, {}});
        }
    }
}

/// What each draw may take. A mask lasts until the next is asked for, so they are copied.
void EngineImpl::collect_masks() {
    masks_.clear();
    for (Draw& d : draws_) {
        d.has_mask = d.choice->matcher.has_value();
        if (!d.has_mask) continue;
        const std::span<const std::uint64_t> mask = d.choice->matcher->mask();
        d.mask_at = masks_.size();
        masks_.insert(masks_.end(), mask.begin(), mask.end());
        BLOOM_CHECK(mask.size() == words_of_mask());
    }
}

Allowed EngineImpl::allowed_of(const Draw& draw) const noexcept {
    if (!draw.has_mask) return {};
    Allowed out{std::span(masks_).subspan(draw.mask_at, words_of_mask()), -1,
                prompts_.tokenizer()->stop_ids()};
    const auto allows = [&](std::int32_t token) {
        const auto at = static_cast<std::size_t>(token);
        return at / 64 < out.mask.size() && (out.mask[at / 64] >> (at % 64) & 1) != 0;
    };
    // Thoughts without end would keep the answer from coming.
    const std::int32_t close = constraints_.thinking_end();
    if (close >= 0 && allows(close) && std::ranges::none_of(out.ends, allows))
        out.instead_of_end = close;
    return out;
}

void EngineImpl::draw_tokens() {
    greedy_rows_.clear();
    weighted_.clear();
    collect_masks();
    for (std::size_t i = 0; i < draws_.size(); ++i) {
        if (is_plain_greedy(draws_[i])) {
            greedy_rows_.push_back(draws_[i].logit_row);
        } else {
            weighted_.push_back(static_cast<std::uint32_t>(i));
        }
    }
    const std::int32_t n_valid = info_.n_tokens;
    if (!greedy_rows_.empty()) {
        greedy_tokens_.resize(greedy_rows_.size());
        backend_->sample(greedy_rows_, n_valid, greedy_tokens_);
        std::size_t next = 0;
        for (Draw& d : draws_) {
            if (is_plain_greedy(d)) d.token = greedy_tokens_[next++];
        }
    }
    const auto draw = [&](std::uint32_t i, SamplerScratch& scratch) {
        Draw& d = draws_[i];
        d.token = d.choice->sampler.sample(backend_->read_logits(d.logit_row), n_valid, scratch,
                                           allowed_of(d), &d.told);
    };
    if (!weighted_.empty()) reserve_scratch();
    if (weighted_.size() <= 1) {
        for (const std::uint32_t i : weighted_)
            draw(i, scratch_[0]);
        return;
    }
    const int n_workers = options_.team->size();
    options_.team->run([&](int w) {
        const auto part =
            compute::split_range(static_cast<std::int64_t>(weighted_.size()), 1, w, n_workers);
        for (std::int64_t i = part.begin; i < part.end; ++i) {
            draw(weighted_[static_cast<std::size_t>(i)], scratch_[static_cast<std::size_t>(w)]);
        }
    });
}

gen::TokenLogprob EngineImpl::logprob_of(std::int32_t token, const DrawnLogprobs& told) const {
    const text::Tokenizer& tokenizer = *prompts_.tokenizer();
    gen::TokenLogprob out{token, told.logprob, std::string(tokenizer.bytes_of(token)), {}};
    out.top.reserve(static_cast<std::size_t>(told.n_top));
    for (std::size_t i = 0; i < static_cast<std::size_t>(told.n_top); ++i) {
        out.top.push_back(
            {told.ids[i], told.logprobs[i], std::string(tokenizer.bytes_of(told.ids[i])), {}});
    }
    return out;
}

/// A token that the choice's matcher has accepted, if it has one.
void EngineImpl::take_token(Request& request, Choice& choice, std::int32_t token,
                            const DrawnLogprobs* told) {
    if (choice.n_generated == 0 && !choice.echo.empty()) {
        gen::Event& e = push_event(request, gen::EventKind::text_delta);
        e.choice = choice.index;
        e.text = std::exchange(choice.echo, {});
    }
    choice.sampler.accept(token);
    ++choice.n_generated;
    bool complete = false; // nothing but an end may follow
    if (choice.matcher) {
        complete = choice.matcher->must_end();
        if (choice.matcher->ended()) choice.matcher.reset();
    }
    const std::int64_t reasoning_before = choice.output.reasoning_tokens();
    const bool ends =
        !request.generation->limits.ignore_eos && prompts_.tokenizer()->is_stop(token);
    // The end-of-turn token is not part of the answer, see gen::Usage.
    if (!ends) ++request.usage.completion_tokens;
    const std::size_t n_events = request.events.size();
    if (ends) {
        choice.output.push_end();
    } else if (told != nullptr) {
        gen::TokenLogprob logprob = logprob_of(token, *told);
        choice.output.push(token, choice.index, request.events, &logprob);
    } else {
        choice.output.push(token, choice.index, request.events);
    }
    has_events_ |= request.events.size() != n_events;
    request.usage.reasoning_tokens += choice.output.reasoning_tokens() - reasoning_before;
    complete = complete && !request.generation->limits.ignore_eos;
    if (complete && !ends) choice.output.push_end(); // no need to compute it
    if (ends || complete || choice.output.stopped() || choice.output.call_over()) {
        finish_choice(request, choice, gen::Finish::stop); // or tool_calls, see there
    } else if (choice.n_generated >= choice.max_new) {
        finish_choice(request, choice, gen::Finish::length);
    } else {
        batcher_.append(choice.seq, token);
    }
}

EngineCapacity EngineImpl::capacity() const {
    EngineCapacity c;
    c.sequence = capacity_sequence_;
    c.free_slots = batcher_.free_slots();
    c.running = batcher_.n_running();
    c.queued = batcher_.n_waiting() + static_cast<std::int32_t>(unprepared_.size());
    const StateStore::Supply pages = store_.scarcest();
    c.pages_available = pages.available;
    c.pages_total = pages.total;
    c.tokens_per_s = decode_rate_.per_second();
    c.prompt_tokens_per_s = prefill_rate_.per_second();
    c.n_drafted = batcher_.n_drafted();
    c.n_accepted = batcher_.n_accepted();
    c.n_head_drafted = head_ ? c.n_drafted : 0;
    c.n_head_accepted = head_ ? c.n_accepted : 0;
    c.n_preempted = batcher_.n_preemptions();
    c.n_swapped = batcher_.n_swapped_out();
    return c;
}

} // namespace bloom::engine
