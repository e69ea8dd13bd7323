#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <new>
#include <optional>
#include <unistd.h>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/base/log.hpp>
#include <bloom/base/snapshot.hpp>
#include <bloom/engine/engine_host.hpp>
#include <bloom/hw/memory_info.hpp>
#include <bloom/provider/kernel_choice.hpp>
#include <bloom/provider/local.hpp>
#include <bloom/provider/model_folder.hpp>
#include <bloom/provider/model_source.hpp>
#include <bloom/rt/compute_pool.hpp>

#include "provider/home.hpp"
#include "provider/kv_budget.hpp"
#include "provider/model_team.hpp"

namespace bloom::provider {
namespace {

/// The home shard is part of a request's number, so that events find it without a table.
constexpr std::uint64_t kShardBits = 8;
constexpr std::size_t kMaxShards = std::size_t{1} << kShardBits;
constexpr std::uint64_t kShardMask = kMaxShards - 1;

constexpr std::int64_t kRefusalRetryMs = 1000;

/// A function on its way to the engine's thread.
struct Command final : rt::PostItem {
    explicit Command(std::move_only_function<void()> f) : PostItem(&execute), work(std::move(f)) {}

    static void execute(rt::PostItem& item) noexcept {
        const std::unique_ptr<Command> self(static_cast<Command*>(&item));
        self->work();
    }

    std::move_only_function<void()> work;
};

gen::Event refusal(const Error& error) {
    gen::Event event;
    event.kind = gen::EventKind::refused;
    event.text = std::string(error.message());
    event.feasible_after_ms = kRefusalRetryMs;
    switch (error.code()) {
    case Code::limit_reached:
    case Code::out_of_memory:
        event.refusal = gen::Refusal::busy;
        break;
    case Code::unavailable:
        event.refusal = gen::Refusal::draining;
        break;
    case Code::not_found:
        event.refusal = gen::Refusal::unknown_model;
        break;
    case Code::too_large:
        event.refusal = gen::Refusal::too_long;
        break;
    default:
        event.refusal = gen::Refusal::invalid;
        break;
    }
    return event;
}

class Local final : public LocalProvider,
                    private rt::StepJob,
                    private engine::EventSink,
                    private EngineGate {
public:
    Local(rt::ShardSet& shards, registry::ProviderIdentity identity, const LocalOptions& options,
          const kernels::KernelTable* table)
        : shards_(shards), identity_(std::move(identity)), options_(options), table_(table),
          catalog_(options.catalog != nullptr ? *options.catalog : registry::Catalog::built_in()),
          team_(make_team(options.n_threads)), homes_(shards.size()),
          current_(shards.size(), nullptr) {}

    ~Local() override {
        handle_.reset(); // of a start that failed; otherwise stop() came first
        drop(spare_);
        drop(returned_.take());
    }

    Result<> start() {
        BLOOM_TRY(handle_, shards_.compute().start(*this, "bloom-engine"));
        return {};
    }

    const registry::ProviderIdentity& identity() const noexcept override { return identity_; }

    registry::Capacity capacity() const override {
        registry::Capacity now;
        now.seq = seq_.load(std::memory_order_relaxed);
        now.n_slots = n_slots_.load(std::memory_order_relaxed);
        now.n_running = n_running_.load(std::memory_order_relaxed);
        now.n_queued = n_queued_.load(std::memory_order_relaxed);
        now.draining = draining_.load(std::memory_order_relaxed);
        now.models = models_.get();
        now.n_drafted = n_drafted_.load(std::memory_order_relaxed);
        now.n_accepted = n_accepted_.load(std::memory_order_relaxed);
        now.n_head_drafted = n_head_drafted_.load(std::memory_order_relaxed);
        now.n_head_accepted = n_head_accepted_.load(std::memory_order_relaxed);
        now.n_preempted = n_preempted_.load(std::memory_order_relaxed);
        now.n_swapped = n_swapped_.load(std::memory_order_relaxed);
        return now;
    }

    std::unique_ptr<registry::EventStream>
    submit(std::shared_ptr<const gen::Generation> request) override {
        const std::size_t shard = rt::Shard::current().idx();
        const std::uint64_t id =
            next_id_.fetch_add(1, std::memory_order_relaxed) << kShardBits | shard;
        EngineGate& gate = *this;
        const auto deadline_ns = static_cast<std::uint64_t>(request->deadline_ms) * 1'000'000;
        auto stream = std::make_unique<LocalStream>(gate, homes_[shard], id, deadline_ns);
        on_engine(
            [this, id, r = std::move(request)]() mutable { engine_submit(id, std::move(r)); });
        return stream;
    }

    rt::Task<Result<std::int64_t>>
    count_tokens(std::shared_ptr<const gen::Generation> request) override {
        auto n_tokens = std::make_shared<std::int64_t>(0);
        BLOOM_CO_OK(co_await round_trip(
            [this, r = std::move(request), n_tokens] { return engine_count(*r, *n_tokens); }));
        co_return *n_tokens;
    }

    rt::Task<Result<>> load(std::string model) override {
        auto loading = std::make_shared<Loading>();
        loading->source = ModelSource::parse(model);
        // Everybody else's streams go on while files are read.
        BLOOM_CO_OK(co_await rt::run_blocking([this, loading] { return open_file(*loading); }));
        BLOOM_CO_OK(co_await round_trip([this, loading] { return engine_reserve(*loading); }));
        Result<> made =
            co_await rt::run_blocking([this, loading] { return make_engine(*loading); });
        co_return co_await round_trip([this, loading, made = std::move(made)]() mutable {
            return engine_attach(*loading, std::move(made));
        });
    }

    rt::Task<Result<>> unload(std::string model) override {
        co_return co_await round_trip([this, m = std::move(model)] { return engine_unload(m); });
    }

    void drain() override { draining_.store(true, std::memory_order_relaxed); }

    rt::Task<void> stop() override {
        co_await handle_->stop();
        handle_.reset();
        run_commands(); // nothing computes any more; what was on its way is answered or dropped
    }

private:
    // --- any thread
    void on_engine(std::move_only_function<void()> f) override {
        // Owned by the mailbox until it has run.
        commands_.push(*std::make_unique<Command>(std::move(f)).release());
        if (handle_) handle_->wake();
    }

    void engine_cancel(std::uint64_t request) override {
        on_engine([this, request] {
            host_.cancel(engine::RequestId{request}, engine::CancelReason::client_gone);
        });
    }

    void engine_wake() noexcept override {
        if (handle_) handle_->wake();
    }

    void engine_credit(std::uint64_t request, std::size_t bytes) override {
        on_engine([this, request, bytes] {
            host_.add_credit(engine::RequestId{request}, static_cast<std::int64_t>(bytes));
        });
    }

    /// Runs `f` on the engine's thread and comes back with its result.
    rt::Task<Result<>> round_trip(std::move_only_function<Result<>()> f) {
        struct Done {
            Result<> result;
        };

        auto back = std::make_shared<rt::Channel<Done>>(1);
        rt::Shard& home = rt::Shard::current();
        on_engine([f = std::move(f), back, &home]() mutable {
            home.post_fn([back, done = Done{guarded(f)}]() mutable {
                static_cast<void>(back->try_send(std::move(done)));
            });
        });
        auto done = co_await back->recv();
        BLOOM_CHECK(done.has_value() && done->has_value());
        co_return std::move((*done)->result);
    }

    /// What `f` returns or throws: a model that does not fit must not end the models that run.
    static Result<> guarded(std::move_only_function<Result<>()>& f) {
        try {
            return f();
        } catch (const std::bad_alloc&) {
            return Error{Code::out_of_memory, "there is not enough memory to load the model"};
        } catch (const std::exception& failure) {
            return Error{Code::internal,
                         fmt::format("loading the model failed: {}", failure.what())};
        }
    }

    // --- engine thread
    bool step() override {
        take_place();
        run_commands();
        const std::int64_t begin_us = now_us();
        const bool more = host_.step(*this, begin_us / 1000);
        deliver();
        publish_capacity();
        host_.step_took(now_us() - begin_us);
        return more || !commands_.empty();
    }

    /// The engine's thread is the team's first worker and goes where that one belongs: two workers
    /// on one CPU halve the speed. In simulation the thread is everybody's and stays free. Says
    /// once what else of the machine costs speed.
    void take_place() {
        if (placed_) return;
        placed_ = true;
        if (::gettid() != ::getpid()) team_->pin_caller();
        if (hw::read_memory_info().transparent_huge_pages == hw::HugePages::never) {
            log::warn("transparent huge pages are switched off: models run up to 1.6 times slower; "
                      "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
        }
    }

    void run_commands() {
        for (rt::PostItem* item = commands_.take(); item != nullptr;) {
            rt::PostItem* next = item->next; // run() ends the item
            item->run(*item);
            item = next;
        }
    }

    std::int64_t now_us() const {
        if (options_.now_us) return options_.now_us();
        return std::chrono::duration_cast<std::chrono::microseconds>(
                   std::chrono::steady_clock::now().time_since_epoch())
            .count();
    }

    void engine_submit(std::uint64_t id, std::shared_ptr<const gen::Generation> request) {
        gen::Event first;
        first.kind = gen::EventKind::accepted;
        Result<> taken = Error{Code::unavailable, "this node is shutting down"};
        if (!draining_.load(std::memory_order_relaxed)) {
            const std::string model = request->model;
            taken = host_.submit(model, engine::RequestId{id}, std::move(request),
                                 static_cast<std::int64_t>(registry::kInitialCredit));
        }
        if (!taken) first = refusal(taken.error());
        gen::EventBatch batch;
        batch.push_back(std::move(first));
        on_events(engine::RequestId{id}, std::move(batch));
    }

    Result<> engine_count(const gen::Generation& request, std::int64_t& n_tokens) {
        engine::Engine* engine = host_.find(request.model);
        if (engine == nullptr) {
            return Error{Code::not_found, fmt::format("the model {} is not loaded", request.model)};
        }
        BLOOM_TRY(const auto prompts, engine->render(request));
        for (const std::vector<std::int32_t>& prompt : prompts)
            n_tokens += static_cast<std::int64_t>(prompt.size());
        return {};
    }

    void on_events(engine::RequestId id, gen::EventBatch&& events) override {
        const auto number = static_cast<std::uint64_t>(id);
        const std::size_t shard = number & kShardMask;
        if (current_[shard] == nullptr) current_[shard] = new_delivery(shard);
        Delivery& delivery = *current_[shard];
        auto& items = delivery.items;
        // A step adds to the batch that the same request has from its submission.
        if (delivery.n_items > 0 && items[delivery.n_items - 1].first == number) {
            auto& batch = items[delivery.n_items - 1].second;
            batch.reserve(batch.size() + events.size()); // fails before anything has moved
            batch.insert(batch.end(), std::make_move_iterator(events.begin()),
                         std::make_move_iterator(events.end()));
            return;
        }
        if (delivery.n_items == items.size()) items.emplace_back();
        auto& [request, batch] = items[delivery.n_items++];
        request = number;
        batch.swap(events); // what it leaves is empty and has memory
    }

    Delivery* new_delivery(std::size_t shard) {
        if (spare_ == nullptr) spare_ = returned_.take();
        Delivery* delivery = static_cast<Delivery*>(spare_);
        if (delivery != nullptr) {
            spare_ = delivery->next;
        } else {
            // Goes with the post and comes back through returned_.
            delivery = std::make_unique<Delivery>(returned_).release();
        }
        delivery->home = &homes_[shard];
        return delivery;
    }

    static void drop(rt::PostItem* deliveries) {
        while (deliveries != nullptr) {
            rt::PostItem* next = deliveries->next;
            delete static_cast<Delivery*>(deliveries);
            deliveries = next;
        }
    }

    /// One post per waiting shard and step.
    void deliver() {
        for (std::size_t shard = 0; shard < current_.size(); ++shard) {
            if (current_[shard] != nullptr)
                shards_.at(shard).post(*std::exchange(current_[shard], nullptr));
        }
    }

    void publish_capacity() {
        const engine::EngineHost::Totals now = host_.totals();
        if (now.sequence == seq_.load(std::memory_order_relaxed)) return;
        n_slots_.store(now.free_slots + now.running, std::memory_order_relaxed);
        n_running_.store(now.running, std::memory_order_relaxed);
        n_queued_.store(now.queued, std::memory_order_relaxed);
        n_drafted_.store(now.n_drafted, std::memory_order_relaxed);
        n_accepted_.store(now.n_accepted, std::memory_order_relaxed);
        n_head_drafted_.store(now.n_head_drafted, std::memory_order_relaxed);
        n_head_accepted_.store(now.n_head_accepted, std::memory_order_relaxed);
        n_preempted_.store(now.n_preempted, std::memory_order_relaxed);
        n_swapped_.store(now.n_swapped, std::memory_order_relaxed);
        seq_.store(now.sequence, std::memory_order_relaxed);
    }

    /// A model on its way in. Passed from thread to thread, used by one at a time.
    struct Loading {
        ModelSource source;
        std::string id;
        const registry::CatalogEntry* entry = nullptr; ///< of the catalog; nullptr: none
        std::string quantization;
        std::optional<engine::ModelFile> file; ///< until the engine has it
        bool alone = false;                    ///< nobody else computes
        std::unique_ptr<ModelTeam> team;
        std::unique_ptr<engine::Engine> engine; // goes before its team
    };

    /// Opens the file and finds the id to serve it under. Thread: any.
    Result<> open_file(Loading& loading) const {
        const auto& [source, alias] = loading.source;
        auto file = open_model(source);
        if (!file) return std::unexpected(std::move(file).error());
        const registry::ModelFacts facts = facts_of(*file, source, alias);
        loading.file = std::move(*file);
        loading.quantization = facts.quantization;
        loading.entry = catalog_.recognise(facts);
        loading.id = !alias.empty()             ? alias
                     : loading.entry != nullptr ? loading.entry->id
                                                : default_model_id(source);
        return {};
    }

    Result<> engine_reserve(Loading& loading) {
        const std::string& id = loading.id;
        if (host_.loaded(id) || std::ranges::find(loading_, id) != loading_.end()) {
            return Error{Code::already_exists,
                         fmt::format("model {}: {} is loaded already; give this one another name: "
                                     "{}=NAME",
                                     loading.source.source, id, loading.source.source)};
        }
        loading.alone = host_.ids().empty() && loading_.empty();
        loading_.push_back(id);
        return {};
    }

    /// Thread: any but the engine's, which goes on meanwhile.
    Result<> make_engine(Loading& loading) const {
        loading.team = std::make_unique<ModelTeam>(*team_, loading.alone);
        engine::EngineOptions options;
        options.team = loading.team.get();
        options.table = table_;
        options.precise = options_.precise;
        options.packed_cache = options_.packed_cache;
        options.seed_base = options_.seed_base;
        options.n_layers = options_.n_layers;
        options.ctx_len = options_.ctx;
        options.max_seqs = options_.max_sequences;
        options.max_waiting = options_.max_queued;
        options.inter_token_ms = options_.inter_token_ms;
        options.swap_bytes = options_.swap_bytes;
        options.speculate = options_.speculate;
        options.draft_head = options_.draft_head;
        options.state_cache_bytes = options_.state_cache_bytes;
        options.available_bytes = static_cast<std::int64_t>(hw::read_memory_info().usable_bytes());
        options.kv_budget_bytes = options_.kv_cache_bytes;
        if (options.kv_budget_bytes <= 0) {
            const auto kv_type = options_.precise ? kernels::KvType::f32 : kernels::KvType::f16;
            options.kv_budget_bytes =
                kv_budget_beside(engine::memory_need(*loading.file, options_.n_layers, kv_type),
                                 options.available_bytes, options_.swap_bytes);
        }
        auto engine = engine::Engine::create(std::move(*loading.file), options);
        loading.file.reset();
        if (!engine) {
            return std::unexpected(
                std::move(engine).error().with_context("model " + loading.source.source));
        }
        loading.engine = std::move(*engine);
        return {};
    }

    Result<> engine_attach(Loading& loading, Result<> made) {
        const std::string& id = loading.id;
        std::erase(loading_, id);
        std::erase_if(model_teams_, [&](const auto& t) { return !host_.loaded(t.first); });
        if (!made) {
            loading.engine.reset();
            loading.team.reset();
            return made;
        }
        const engine::EngineInfo info = loading.engine->info();
        loading.team->join();
        model_teams_.emplace_back(id, std::move(loading.team));
        BLOOM_OK(host_.add(id, std::move(loading.engine)));
        list_model(loading, info);
        log::info("model {} is ready: {} ({}), {} kernels, context {}", id, info.name, info.arch,
                  info.kernel_isa, info.ctx_len);
        return {};
    }

    void list_model(const Loading& loading, const engine::EngineInfo& info) {
        registry::ModelInfo model;
        model.id = loading.id;
        model.display_name = info.name.empty() ? loading.id : info.name;
        if (loading.entry != nullptr) {
            model.catalog_id = loading.entry->id;
            model.display_name = loading.entry->display_name;
            model.max_output_length = std::min(loading.entry->max_output_length, info.ctx_len);
        }
        model.architecture = info.arch;
        model.quantization = loading.quantization;
        model.created = loaded_at_;
        model.size_bytes = info.file_bytes;
        model.context_length = info.ctx_len;
        model.thinking = info.has_thinking_switch;
        auto list = std::make_shared<registry::ModelList>(*models_.get());
        list->push_back(std::move(model));
        models_.set(std::move(list));
    }

    Result<> engine_unload(const std::string& id) {
        BLOOM_OK(host_.unload(id, engine::EngineHost::Unload::drain));
        auto list = std::make_shared<registry::ModelList>(*models_.get());
        std::erase_if(*list, [&](const registry::ModelInfo& m) { return m.id == id; });
        models_.set(std::move(list));
        return {};
    }

    // immutable
    rt::ShardSet& shards_;
    registry::ProviderIdentity identity_;
    LocalOptions options_;
    const kernels::KernelTable* table_;
    const registry::Catalog& catalog_;
    std::int64_t loaded_at_ = std::chrono::duration_cast<std::chrono::seconds>(
                                  std::chrono::system_clock::now().time_since_epoch())
                                  .count();

    // engine thread
    std::unique_ptr<compute::Team> team_;
    std::vector<std::pair<std::string, std::unique_ptr<ModelTeam>>> model_teams_; // by model
    engine::EngineHost host_;
    std::vector<std::string> loading_; // ids
    rt::PostItem* spare_ = nullptr;    // deliveries that have come back
    bool placed_ = false;

    // one element per shard, touched by that shard
    std::vector<Home> homes_;
    // one element per shard, touched by the engine's thread
    std::vector<Delivery*> current_;

    // any thread
    std::unique_ptr<rt::StepHandle> handle_; // set before the first submit, reset after the last
    rt::Mailbox commands_;
    rt::Mailbox returned_;
    std::atomic<std::uint64_t> next_id_{1};
    std::atomic<bool> draining_{false};
    std::atomic<std::uint64_t> seq_{0};
    std::atomic<std::int32_t> n_slots_{0};
    std::atomic<std::int32_t> n_running_{0};
    std::atomic<std::int32_t> n_queued_{0};
    std::atomic<std::int64_t> n_drafted_{0};
    std::atomic<std::int64_t> n_accepted_{0};
    std::atomic<std::int64_t> n_head_drafted_{0};
    std::atomic<std::int64_t> n_head_accepted_{0};
    std::atomic<std::int64_t> n_preempted_{0};
    std::atomic<std::int64_t> n_swapped_{0};
    Snapshot<registry::ModelList> models_{std::make_shared<const registry::ModelList>()};
};

} // namespace

Result<std::shared_ptr<LocalProvider>> LocalProvider::start(rt::ShardSet& shards,
                                                            registry::ProviderIdentity identity,
                                                            const LocalOptions& options) {
    BLOOM_CHECK(shards.size() <= kMaxShards);
    BLOOM_TRY(const kernels::KernelTable* table, choose_kernels());
    auto local = std::make_shared<Local>(shards, std::move(identity), options, table);
    BLOOM_OK(local->start());
    return std::shared_ptr<LocalProvider>(std::move(local));
}

} // namespace bloom::provider
