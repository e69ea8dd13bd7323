#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include <fmt/format.h>

#include <bloom/api/services.hpp>
#include <bloom/auth/api_key.hpp>
#include <bloom/base/bytes.hpp>
#include <bloom/base/check.hpp>
#include <bloom/base/log.hpp>
#include <bloom/base/snapshot.hpp>
#include <bloom/crypto/digest.hpp>
#include <bloom/http/server.hpp>
#include <bloom/net/port.hpp>
#include <bloom/net/tls.hpp>
#include <bloom/node/node.hpp>
#include <bloom/provider/local.hpp>
#include <bloom/provider/model_source.hpp>
#include <bloom/provider/null_link.hpp>
#include <bloom/registry/registry.hpp>
#include <bloom/rt/channel.hpp>
#include <bloom/rt/shard_set.hpp>
#include <bloom/rt/signals.hpp>
#include <bloom/rt/uring_driver.hpp>
#include <bloom/scheduler/admission.hpp>
#include <bloom/store/database.hpp>
#include <bloom/store/key_store.hpp>

#include "node/identity.hpp"

namespace bloom::node {
namespace {

/// What an orderly end may take after a second signal; a model that is being loaded cannot be told
/// to stop.
constexpr std::chrono::seconds kForcedEnd{3};

constexpr std::size_t kMaxShards = 256;

std::int64_t unix_seconds() {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

/// What one shard has of its own: made before the threads start, touched only on its shard after.
struct ShardState {
    rt::StopSource drain;
    rt::StopSource abort;
    std::optional<net::TlsContext> tls;
    std::optional<http::Server> server;
    rt::Channel<char> start{1}; ///< tells shards other than the first that the port is known
};

/// The graph of a combined node, in the order in which it is built; it goes in reverse.
class Node {
public:
    explicit Node(const NodeOptions& options) : options_(options) {}

    Result<> run();

private:
    Result<> open_store();
    Result<> start_provider(rt::ShardSet& shards);
    Result<> listen_here(ShardState& state, const net::Address& at);

    rt::Task<void> shard_main(rt::Shard& shard);
    rt::Task<void> first_shard(ShardState& state);
    rt::Task<void> other_shard(rt::Shard& shard, ShardState& state);
    rt::Task<void> load_models();
    rt::Task<void> watch_signals(rt::StopToken stop);
    rt::Task<void> abort_later(rt::StopToken stop);
    rt::Task<void> end_by_force_later(rt::StopToken stop);

    void on_each_shard(void (*f)(ShardState&));

    std::string url_file() const { return options_.data_dir + "/" + std::string(kUrlFile); }

    void announce(const std::string& url);
    void begin_drain();
    void fail(Error error);

    // immutable after construction
    const NodeOptions& options_;

    // built before the shards run
    std::optional<store::Database> db_;
    std::optional<Snapshot<auth::KeyTable>> keys_;
    Identity identity_;
    registry::Registry registry_;
    scheduler::PermissiveAdmission admission_;
    std::optional<api::Services> services_;
    std::optional<http::Router> router_;
    std::shared_ptr<provider::LocalProvider> local_;
    rt::ShardSet* shards_ = nullptr;
    std::vector<std::unique_ptr<ShardState>> states_;

    // first shard; port_ is read by the others after its post
    std::uint16_t port_ = 0;
    rt::Channel<char> ended_{kMaxShards}; ///< one word from each other shard
    std::optional<rt::Scope> tasks_;
    std::optional<rt::Scope> watch_; ///< signals count until the very end
    std::optional<Error> failure_;
};

Result<> Node::run() {
    BLOOM_OK(open_store());
    rt::ShardSetOptions shard_options;
    shard_options.n_shards = options_.n_io_threads;
    BLOOM_TRY(const std::unique_ptr<rt::ShardSet> shards, rt::start_shards(shard_options));
    shards_ = shards.get();
    for (std::size_t i = 0; i < shards->size(); ++i)
        states_.push_back(std::make_unique<ShardState>());
    BLOOM_OK(start_provider(*shards));

    struct Main {
        Node* node;

        BLOOM_CORO_WRAPPER rt::Task<void> operator()(rt::Shard& shard) const {
            return node->shard_main(shard);
        }
    };

    Result<> ran = shards->run(Main{this});
    if (!ran) {
        // The shards never ran, so nobody could stop the engine: it ends before they go.
        if (local_) registry_.remove(*local_);
        local_.reset();
        return ran;
    }
    if (failure_) return std::unexpected(std::move(*failure_));
    return {};
}

Result<> Node::open_store() {
    std::error_code failure;
    const bool fresh = std::filesystem::create_directories(options_.data_dir, failure);
    if (failure) {
        return Error{Code::io_error,
                     fmt::format("data directory {}: {}; choose another with --data-dir",
                                 options_.data_dir, failure.message())};
    }
    // Only what was made here: a folder of somebody else's keeps the mode it has.
    if (fresh)
        std::filesystem::permissions(options_.data_dir, std::filesystem::perms::owner_all, failure);
    BLOOM_TRY(store::Database db, store::Database::open(options_.data_dir + "/darkbloom.db"));
    db_.emplace(std::move(db));
    BLOOM_OK(store::migrate(*db_));
    store::KeyStore key_store(*db_);
    BLOOM_TRY(const auth::OwnerKey owner,
              auth::ensure_owner(key_store, options_.owner_key, unix_seconds()));
    if (owner.created && !owner.key.empty()) {
        // The only place where a key is ever shown; not through the log, whose lines are kept.
        std::fprintf(stderr, "\nYour API key, shown only now: %s\n\n", owner.key.c_str());
    }
    BLOOM_TRY(auto table, auth::KeyTable::load(key_store));
    keys_.emplace(std::move(table));
    BLOOM_TRY(identity_,
              make_identity(options_.data_dir, options_.serial, version(), unix_seconds()));
    services_.emplace(registry_, admission_, *keys_);
    services_->cors = api::CorsPolicy(options_.cors_origins);
    services_->version = std::string(version());
    services_->list_catalog = options_.list_catalog;
    services_->fit_is_public = options_.listen.is_loopback();
    services_->attestation = identity_.attestation.get();
    router_.emplace(api::make_router(*services_));
    return {};
}

Result<> Node::start_provider(rt::ShardSet& shards) {
    bool needs_engine = options_.models.empty();
    for (const ModelSpec& model : options_.models) {
        if (model.source == provider::kNullModel) {
            registry_.add(provider::make_null_link(
                identity_.provider, model.alias.empty() ? model.source : model.alias));
        } else {
            needs_engine = true;
        }
    }
    if (!needs_engine) return {};
    provider::LocalOptions local;
    local.n_threads = options_.n_threads;
    local.ctx = options_.ctx;
    local.n_layers = options_.n_layers;
    local.max_sequences = options_.max_sequences;
    local.max_queued = options_.max_queued;
    local.kv_cache_bytes = options_.kv_cache_bytes;
    local.swap_bytes = options_.swap_bytes;
    local.inter_token_ms = options_.inter_token_ms;
    local.speculate = options_.speculate;
    local.draft_head = options_.draft_head;
    local.state_cache_bytes = options_.state_cache_bytes;
    local.precise = options_.precise;
    local.packed_cache = options_.packed_cache;
    std::array<std::uint8_t, sizeof local.seed_base> seed{};
    crypto::random_bytes(seed);
    local.seed_base = load_le<std::uint64_t>(seed.data());
    BLOOM_TRY(local_, provider::LocalProvider::start(shards, identity_.provider, local));
    registry_.add(local_);
    return {};
}

Result<> Node::listen_here(ShardState& state, const net::Address& at) {
    if (!options_.tls_certificate.empty()) {
        BLOOM_TRY(net::TlsContext tls,
                  net::TlsContext::server({options_.tls_certificate, options_.tls_key}));
        state.tls.emplace(std::move(tls));
    }
    http::ServerOptions server;
    server.limits.stall_timeout = options_.write_stall_timeout;
    server.hooks = api::make_hooks(*services_);
    server.tls = state.tls ? &*state.tls : nullptr;
    state.server.emplace(*router_, std::move(server));
    return state.server->listen(at);
}

rt::Task<void> Node::shard_main(rt::Shard& shard) {
    ShardState& state = *states_[shard.idx()];
    if (shard.idx() == 0) {
        co_await first_shard(state);
    } else {
        co_await other_shard(shard, state);
    }
    state.server.reset();
}

rt::Task<void> Node::other_shard(rt::Shard& shard, ShardState& state) {
    const auto word = co_await state.start.recv();
    BLOOM_CHECK(word.has_value());
    if (port_ != 0) {
        const Result<> listening = listen_here(state, options_.listen.with_port(port_));
        if (listening) {
            co_await state.server->serve(state.drain.token(), state.abort.token());
        } else {
            log::error("io thread {}: {}", shard.idx(), listening.error().message());
        }
    }
    shards_->at(0).post_fn([this] { static_cast<void>(ended_.try_send(0)); });
}

rt::Task<void> Node::first_shard(ShardState& state) {
    Result<> listening = net::check_port_free(options_.listen);
    if (listening) listening = listen_here(state, options_.listen);
    if (listening) {
        port_ = state.server->local().port();
    } else {
        failure_ = listening.error();
    }
    for (std::size_t i = 1; i < states_.size(); ++i) {
        shards_->at(i).post_fn(
            [other = states_[i].get()] { static_cast<void>(other->start.try_send(0)); });
    }
    if (listening) {
        tasks_.emplace();
        watch_.emplace();
        watch_->spawn(watch_signals(watch_->token()));
        if (local_) tasks_->spawn(load_models());
        announce((state.tls ? "https://" : "http://") + state.server->local().to_string());
        co_await state.server->serve(state.drain.token(), state.abort.token());
    }
    for (std::size_t i = 1; i < states_.size(); ++i) {
        const auto word = co_await ended_.recv();
        BLOOM_CHECK(word.has_value());
    }
    if (tasks_) {
        tasks_->request_stop(rt::StopReason::shutdown);
        co_await tasks_->join();
        tasks_.reset();
    }
    if (local_) co_await local_->stop();
    if (watch_) {
        watch_->request_stop(rt::StopReason::shutdown);
        co_await watch_->join();
        watch_.reset();
    }
    if (listening) std::remove(url_file().c_str());
}

void Node::announce(const std::string& url) {
    std::printf("darkbloom ready on %s\n", url.c_str());
    std::fflush(stdout);
    // For commands on this machine; a stale one does no harm, they ask before they trust it.
    std::ofstream(url_file()) << url << '\n';
}

rt::Task<void> Node::load_models() {
    std::vector<ModelSpec> models = options_.models;
    std::erase_if(models, [](const ModelSpec& m) { return m.source == provider::kNullModel; });
    if (models.empty()) models.push_back({std::string(provider::kBuiltInModel), {}});
    for (const ModelSpec& model : models) {
        if (services_->draining.load(std::memory_order_relaxed)) co_return;
        const std::string source =
            model.alias.empty() ? model.source : model.source + "=" + model.alias;
        const Result<> loaded = co_await local_->load(source);
        if (!loaded) {
            fail(loaded.error());
            co_return;
        }
    }
}

void Node::fail(Error error) {
    failure_ = std::move(error);
    services_->draining.store(true, std::memory_order_relaxed);
    on_each_shard([](ShardState& s) {
        s.drain.request_stop(rt::StopReason::shutdown);
        s.abort.request_stop(rt::StopReason::shutdown);
    });
}

void Node::on_each_shard(void (*f)(ShardState&)) {
    for (std::size_t i = 0; i < states_.size(); ++i) {
        shards_->at(i).post_fn([f, state = states_[i].get()] { f(*state); });
    }
}

rt::Task<void> Node::watch_signals(rt::StopToken stop) {
    auto signals = rt::SignalSource::open({SIGTERM, SIGINT, SIGHUP});
    if (!signals) {
        log::warn("signals cannot be received: {}", signals.error().message());
        co_return;
    }
    int n_stops = 0;
    for (;;) {
        const Result<int> signal = co_await signals->next(stop);
        if (!signal) break;
        if (*signal == SIGHUP) continue; // nothing is re-read yet; it must not end the node
        if (++n_stops == 1) {
            begin_drain();
        } else {
            on_each_shard([](ShardState& s) { s.abort.request_stop(rt::StopReason::shutdown); });
            watch_->spawn(end_by_force_later(watch_->token()));
        }
    }
    co_await signals->close();
}

void Node::begin_drain() {
    log::info("draining: {} running, at most {} s",
              services_->n_active.load(std::memory_order_relaxed), options_.drain_timeout.count());
    services_->draining.store(true, std::memory_order_relaxed);
    const auto links = registry_.links();
    for (const auto& link : *links)
        link->drain();
    on_each_shard([](ShardState& s) { s.drain.request_stop(rt::StopReason::shutdown); });
    if (tasks_) tasks_->spawn(abort_later(tasks_->token()));
}

rt::Task<void> Node::end_by_force_later(rt::StopToken stop) {
    const Result<> slept = co_await rt::sleep_for(kForcedEnd, stop);
    if (!slept) co_return;
    log::error("stopped by force: the engine did not end within {} s", kForcedEnd.count());
    std::_Exit(1); // the store is safe at any moment; destructors would wait for the engine
}

rt::Task<void> Node::abort_later(rt::StopToken stop) {
    const Result<> slept = co_await rt::sleep_for(options_.drain_timeout, stop);
    if (!slept) co_return; // everything ended in time
    on_each_shard([](ShardState& s) { s.abort.request_stop(rt::StopReason::shutdown); });
}

} // namespace

std::string_view version() noexcept {
    return "0.1.0";
}

Result<> run_node(const NodeOptions& options) {
    return Node(options).run();
}

} // namespace bloom::node
