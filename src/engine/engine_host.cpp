#include <algorithm>
#include <new>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/engine/engine_host.hpp>

namespace bloom::engine {

EngineHost::Slot* EngineHost::slot(std::string_view id) noexcept {
    const auto at = std::ranges::find_if(slots_, [&](const auto& s) { return s->id == id; });
    return at == slots_.end() ? nullptr : at->get();
}

EngineHost::Slot* EngineHost::slot_of(RequestId id) noexcept {
    const auto at = by_request_.find(static_cast<std::uint64_t>(id));
    return at == by_request_.end() ? nullptr : at->second;
}

Result<> EngineHost::add(std::string id, std::unique_ptr<Engine> engine) {
    BLOOM_CHECK(engine != nullptr);
    if (slot(id) != nullptr) {
        return Error{Code::already_exists, fmt::format("model {} is loaded already", id)};
    }
    slots_.push_back(
        std::make_unique<Slot>(Slot{std::move(id), std::move(engine), false, false, {}}));
    ++changes_;
    return {};
}

Result<> EngineHost::unload(std::string_view id, Unload how) {
    Slot* const s = slot(id);
    if (s == nullptr) return Error{Code::not_found, fmt::format("model {} is not loaded", id)};
    s->unloading = true;
    s->awake = true;
    if (how == Unload::cancel) {
        for (const RequestId request : s->requests)
            s->engine->cancel(request, CancelReason::shutdown);
    }
    ++changes_;
    forget_unloaded();
    return {};
}

Engine* EngineHost::find(std::string_view id) noexcept {
    Slot* const s = slot(id);
    return s == nullptr || s->unloading ? nullptr : s->engine.get();
}

std::vector<std::string> EngineHost::ids() const {
    std::vector<std::string> out;
    for (const auto& s : slots_) {
        if (!s->unloading) out.push_back(s->id);
    }
    return out;
}

bool EngineHost::loaded(std::string_view id) const noexcept {
    return std::ranges::any_of(slots_, [&](const auto& s) { return s->id == id; });
}

Result<> EngineHost::submit(std::string_view model, RequestId id,
                            std::shared_ptr<const gen::Generation> generation,
                            std::int64_t credit_bytes) {
    Slot* const s = slot(model);
    if (s == nullptr) return Error{Code::not_found, fmt::format("model {} is not loaded", model)};
    if (s->unloading) {
        return Error{Code::unavailable, fmt::format("model {} is being unloaded", model)};
    }
    if (slot_of(id) != nullptr) {
        return Error{Code::id_reused,
                     fmt::format("request {} is running already", static_cast<std::uint64_t>(id))};
    }
    // Room first: a request that runs is in both.
    if (s->requests.size() == s->requests.capacity()) {
        s->requests.reserve(2 * s->requests.size() + 8);
    }
    const auto at = by_request_.emplace(static_cast<std::uint64_t>(id), s).first;
    Result<> taken = Error{Code::out_of_memory, "there is not enough memory for the request"};
    try {
        taken = s->engine->submit(id, std::move(generation), credit_bytes);
    } catch (const std::bad_alloc&) {
    }
    if (!taken) {
        by_request_.erase(at);
        return taken;
    }
    s->requests.push_back(id);
    s->awake = true;
    ++changes_;
    return {};
}

void EngineHost::cancel(RequestId id, CancelReason reason) {
    if (Slot* const s = slot_of(id)) {
        s->engine->cancel(id, reason);
        s->awake = true;
    }
}

void EngineHost::add_credit(RequestId id, std::int64_t bytes) {
    if (Slot* const s = slot_of(id)) {
        s->engine->add_credit(id, bytes);
        s->awake = true;
    }
}

void EngineHost::step_slot(Slot& s, EventSink& sink, std::int64_t now_ms) {
    s.awake = s.engine->step(sink, now_ms);
    if (static_cast<std::size_t>(s.engine->n_requests()) == s.requests.size()) return;
    std::erase_if(s.requests, [&](RequestId id) {
        if (s.engine->has(id)) return false;
        by_request_.erase(static_cast<std::uint64_t>(id));
        return true;
    });
}

bool EngineHost::step(EventSink& sink, std::int64_t now_ms) {
    const std::size_t n = slots_.size();
    std::size_t first = n; // the one whose turn it is to compute
    stepped_ = nullptr;
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t at = (next_ + i) % n;
        Slot& s = *slots_[at];
        if (s.awake && first == n) {
            first = at;
        } else if (!s.awake && !s.requests.empty()) {
            step_slot(s, sink, now_ms); // all paused: only deadlines can come of it
        }
    }
    if (first != n) {
        next_ = first + 1;
        stepped_ = slots_[first].get();
        step_slot(*stepped_, sink, now_ms);
        ++changes_;
    }
    forget_unloaded();
    return std::ranges::any_of(slots_, [](const auto& s) { return s->awake; });
}

void EngineHost::forget_unloaded() {
    const auto gone =
        std::erase_if(slots_, [](const auto& s) { return s->unloading && s->requests.empty(); });
    if (gone == 0) return;
    next_ = 0;
    stepped_ = nullptr;
    ++changes_;
}

void EngineHost::step_took(std::int64_t elapsed_us) {
    if (stepped_ != nullptr) stepped_->engine->step_took(elapsed_us);
    stepped_ = nullptr;
}

EngineHost::Totals EngineHost::totals() const {
    Totals out;
    out.sequence = changes_;
    for (const auto& s : slots_) {
        const EngineCapacity c = s->engine->capacity();
        out.free_slots += c.free_slots;
        out.running += c.running;
        out.queued += c.queued;
        out.n_drafted += c.n_drafted;
        out.n_accepted += c.n_accepted;
        out.n_head_drafted += c.n_head_drafted;
        out.n_head_accepted += c.n_head_accepted;
        out.n_preempted += c.n_preempted;
        out.n_swapped += c.n_swapped;
    }
    return out;
}

EngineHost::Snapshot EngineHost::capacity() const {
    Snapshot out;
    out.sequence = changes_;
    for (const auto& s : slots_)
        out.models.push_back({s->id, s->unloading, s->engine->capacity()});
    return out;
}

} // namespace bloom::engine
