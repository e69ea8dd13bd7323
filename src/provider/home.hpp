#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include <bloom/engine/engine.hpp>
#include <bloom/registry/provider_link.hpp>
#include <bloom/rt/channel.hpp>
#include <bloom/rt/mailbox.hpp>
#include <bloom/rt/shard.hpp>
#include <bloom/rt/timer.hpp>

/// The two ends of the in-process transport: commands go to the engine's thread, deliveries come
/// home.
namespace bloom::provider {

class LocalStream;

/// The streams of one shard by request. Thread: that shard's.
struct Home {
    std::unordered_map<std::uint64_t, LocalStream*> streams;
};

/// The events of one engine step for one shard. Made on the engine's thread, posted once, emptied
/// on the shard, returned for the next step with all memory it has grown to.
struct Delivery final : rt::PostItem {
    explicit Delivery(rt::Mailbox& back) : PostItem(&arrive), returned(back) {}

    static void arrive(rt::PostItem& item) noexcept;

    rt::Mailbox& returned;
    Home* home = nullptr;
    std::vector<std::pair<std::uint64_t, gen::EventBatch>> items; ///< the first n_items count
    std::size_t n_items = 0;
};

/// What the shard side needs of the provider.
class EngineGate {
public:
    /// Runs `f` on the engine's thread before its next step. Thread: any.
    virtual void on_engine(std::move_only_function<void()> f) = 0;
    virtual void engine_cancel(std::uint64_t request) = 0;
    virtual void engine_credit(std::uint64_t request, std::size_t bytes) = 0;
    /// Lets the engine look at its deadlines.
    virtual void engine_wake() noexcept = 0;

protected:
    ~EngineGate() = default;
};

/// One request as its shard sees it. Thread: the shard's.
class LocalStream final : public registry::EventStream {
public:
    /// `deadline_ns`: on the shard's clock; the engine is woken then, since it sleeps while all its
    /// requests wait for their readers. 0: none.
    LocalStream(EngineGate& gate, Home& home, std::uint64_t request, std::uint64_t deadline_ns);
    LocalStream(const LocalStream&) = delete;
    LocalStream& operator=(const LocalStream&) = delete;
    ~LocalStream() override;

    rt::Task<Result<std::optional<gen::EventBatch>>> next(rt::StopToken stop) override;
    void grant(std::size_t bytes) override;
    rt::Task<gen::Usage> cancel() override;

    /// Events came home; several steps join in one batch while the reader is busy. Leaves the batch
    /// empty, its memory where it was.
    void deliver(gen::EventBatch& batch);

private:
    struct Alarm final : rt::Timer {
        explicit Alarm(LocalStream& s) : Timer(&fire), stream(s) {}

        static void fire(rt::Timer& timer) noexcept {
            static_cast<Alarm&>(timer).stream.gate_.engine_wake();
        }

        LocalStream& stream;
    };

    EngineGate& gate_;
    Home& home_;
    std::uint64_t request_;
    Alarm deadline_{*this};
    gen::EventBatch pending_;
    rt::Channel<char> wake_{1};
    gen::Usage usage_;
    bool ended_ = false;
};

} // namespace bloom::provider
