#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/base/log.hpp>

#include "engine/engine_impl.hpp"

/// What a step computes, and what follows from the tokens it draws.
namespace bloom::engine {

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
    expire(now_ms);
    prepare_some();
    if (broken_.empty()) {
        compute_step(now_ms);
    }
    if (!broken_.empty()) {
        for (const auto& request : requests_) {
            if (!request->ended) fail(*request, gen::Failure::provider, broken_);
        }
    }
    deliver(sink);
    return !unprepared_.empty() || has_events_ || batcher_.has_work();
}

void EngineImpl::compute_step(std::int64_t now_ms) {
    const Batcher::Step& step = batcher_.schedule();
    const auto n_rows = static_cast<std::int64_t>(step.tokens.size());
    if (step.empty()) {
        decode_rate_.add(now_ms, 0);
        prefill_rate_.add(now_ms, 0);
        return;
    }
    report_starts(step);
    const auto plan = plans_.get(step.phase, step.tokens.size(), step.logit_rows.size());
    options_.team->begin_step();
    Result<> ran = {};
    if (plan) {
        ran = backend_->run(*plan, step.inputs(static_cast<std::int32_t>(store_.n_groups())));
    } else {
        ran = std::unexpected(plan.error());
    }
    if (!ran) {
        options_.team->end_step();
        broken_ = ran.error().message();
        log::error("model {} cannot compute any more: {}", info_.name, broken_);
        return;
    }
    batcher_.complete();
    collect_draws(step);
    draw_tokens();
    options_.team->end_step();
    std::int64_t n_decodes = 0;
    for (const Batcher::Item& item : step.items)
        n_decodes += item.end - item.begin == 1 ? 1 : 0;
    decode_rate_.add(now_ms, static_cast<std::int64_t>(draws_.size()));
    prefill_rate_.add(now_ms, n_rows - n_decodes);
    ++capacity_sequence_;
    for (const Draw& d : draws_)
        take_token(*d.request, *d.choice, d.token);
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
        draws_.push_back({first.request, first.choice, item.logit_row, -1});
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
            draws_.push_back({first.request, other.get(), item.logit_row, -1});
        }
    }
}

void EngineImpl::draw_tokens() {
    greedy_rows_.clear();
    weighted_.clear();
    for (std::size_t i = 0; i < draws_.size(); ++i) {
        if (draws_[i].choice->sampler.is_plain_greedy()) {
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
            if (d.choice->sampler.is_plain_greedy()) d.token = greedy_tokens_[next++];
        }
    }
    const auto draw = [&](std::uint32_t i, SamplerScratch& scratch) {
        Draw& d = draws_[i];
        d.token = d.choice->sampler.sample(backend_->read_logits(d.logit_row), n_valid, scratch);
    };
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

void EngineImpl::take_token(Request& request, Choice& choice, std::int32_t token) {
    choice.sampler.accept(token);
    ++choice.n_generated;
    const std::int64_t reasoning_before = choice.output.reasoning_tokens();
    const bool ends =
        !request.generation->limits.ignore_eos && prompts_.tokenizer()->is_stop(token);
    // The end-of-turn token is not part of the answer (consumer API section 4.14).
    if (!ends) ++request.usage.completion_tokens;
    const std::size_t n_events = request.events.size();
    if (ends) {
        choice.output.push_end();
    } else {
        choice.output.push(token, choice.index, request.events);
    }
    has_events_ |= request.events.size() != n_events;
    request.usage.reasoning_tokens += choice.output.reasoning_tokens() - reasoning_before;
    if (ends || choice.output.stopped()) {
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
    c.pages_available = store_.n_available();
    c.pages_total = store_.n_pages();
    c.tokens_per_s = decode_rate_.per_second();
    c.prompt_tokens_per_s = prefill_rate_.per_second();
    return c;
}

} // namespace bloom::engine
