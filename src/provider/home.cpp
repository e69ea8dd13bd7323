#include "provider/home.hpp"

#include <iterator>

#include <bloom/base/check.hpp>

namespace bloom::provider {

void Delivery::arrive(rt::PostItem& item) noexcept {
    auto& self = static_cast<Delivery&>(item);
    for (std::size_t i = 0; i < self.n_items; ++i) {
        auto& [request, batch] = self.items[i];
        const auto found = self.home->streams.find(request);
        // A stream waits for its last event before it goes, so every event has a reader.
        BLOOM_CHECK(found != self.home->streams.end());
        found->second->deliver(batch);
    }
    self.n_items = 0;
    self.returned.push(self);
}

LocalStream::LocalStream(EngineGate& gate, Home& home, std::uint64_t request,
                         std::uint64_t deadline_ns)
    : gate_(gate), home_(home), request_(request) {
    home_.streams.emplace(request_, this);
    if (deadline_ns != 0) rt::Shard::current().timers().add(deadline_, deadline_ns);
}

LocalStream::~LocalStream() {
    BLOOM_CHECK(ended_);
    rt::Shard::current().timers().cancel(deadline_);
    home_.streams.erase(request_);
}

void LocalStream::deliver(gen::EventBatch& batch) {
    for (const gen::Event& event : batch) {
        if (event.kind == gen::EventKind::usage || event.kind == gen::EventKind::failed)
            usage_ = event.usage;
        ended_ |= event.kind == gen::EventKind::usage || gen::is_terminal_failure(event);
    }
    pending_.insert(pending_.end(), std::make_move_iterator(batch.begin()),
                    std::make_move_iterator(batch.end()));
    batch.clear();
    // Full means that a wake-up is under way already.
    char token = 0;
    static_cast<void>(wake_.try_send(std::move(token)));
}

rt::Task<Result<std::optional<gen::EventBatch>>> LocalStream::next(rt::StopToken stop) {
    for (;;) {
        if (!pending_.empty()) co_return std::optional(std::exchange(pending_, {}));
        if (ended_) co_return std::nullopt;
        BLOOM_CO_TRY(const std::optional<char> woken, co_await wake_.recv(stop));
        BLOOM_CHECK(woken.has_value()); // the channel is never closed
    }
}

void LocalStream::grant(std::size_t bytes) {
    if (ended_ || bytes == 0) return;
    gate_.engine_credit(request_, bytes);
}

rt::Task<gen::Usage> LocalStream::cancel() {
    if (!ended_) gate_.engine_cancel(request_);
    while (!ended_) {
        pending_.clear();
        const auto woken = co_await wake_.recv();
        BLOOM_CHECK(woken.has_value());
    }
    co_return usage_;
}

} // namespace bloom::provider
