// Servers and clients on the simulated network, over many seeds: whatever the network does, a
// client gets back exactly the bytes it sent or an error, everything ends, nothing is left open,
// and a seed repeats its trace.

#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/net/tcp.hpp>
#include <bloom/net/tls.hpp>
#include <bloom/rt/scope.hpp>
#include <bloom/rt/when.hpp>

#include "support/co_test.hpp"

namespace bloom::net {
namespace {

using rt::Chunk;
using rt::StopToken;
using rt::Task;

/// 200 in every run; DARKBLOOM_SIM_SEEDS for more.
std::uint64_t n_seeds() {
    const char* text = std::getenv("DARKBLOOM_SIM_SEEDS");
    return text == nullptr ? 200 : std::strtoull(text, nullptr, 10);
}

struct Outcome {
    int n_good = 0;
    int n_failed = 0;
    int n_wrong = 0;
};

Task<void> echo(Stream stream, StopToken stop) {
    for (;;) {
        Result<Chunk> in = co_await stream.recv(stop);
        if (!in || in->empty()) break;
        const Result<> sent = co_await stream.send_all(in->bytes(), stop);
        if (!sent) break;
    }
    co_await stream.close();
}

Task<void> accept_loop(Listener listener, StopToken stop) {
    rt::Scope connections(stop);
    for (;;) {
        Result<Stream> stream = co_await listener.accept(connections.token());
        if (!stream) break;
        connections.spawn(echo(std::move(*stream), connections.token()));
    }
    co_await listener.close();
    co_await connections.join();
}

std::string text_of(std::uint64_t seed, std::size_t bytes) {
    Rng rng(seed);
    std::string text(bytes, '\0');
    for (char& c : text)
        c = static_cast<char>('a' + rng.below(26));
    return text;
}

Task<Result<>> send_slowly(Stream& stream, const std::string& text, std::uint64_t seed,
                           StopToken stop) {
    Rng rng(seed);
    std::size_t at = 0;
    while (at < text.size()) {
        const std::size_t n = std::min<std::size_t>(text.size() - at, 1 + rng.below(4000));
        BLOOM_CO_OK(co_await stream.send_all(as_bytes(text).subspan(at, n), stop));
        at += n;
        if (rng.below(3) == 0) {
            BLOOM_CO_OK(co_await rt::sleep_for(std::chrono::milliseconds(rng.below(30)), stop));
        }
    }
    co_return co_await stream.shutdown_send(stop);
}

Task<Result<std::string>> recv_slowly(Stream& stream, std::uint64_t seed, StopToken stop) {
    Rng rng(seed);
    std::string got;
    for (;;) {
        if (rng.below(5) == 0) {
            BLOOM_CO_OK(co_await rt::sleep_for(std::chrono::milliseconds(rng.below(60)), stop));
        }
        // Giving up and asking again must lose nothing.
        rt::StopSource impatient(stop);
        if (rng.below(2) == 0) impatient.stop_after(std::chrono::milliseconds(rng.below(10)));
        Result<Chunk> chunk = co_await stream.recv(impatient.token());
        if (!chunk && impatient.stop_requested() && !stop.stop_requested()) continue;
        if (!chunk) co_return std::move(chunk).error();
        if (chunk->empty()) co_return got;
        got += as_text(chunk->bytes());
    }
}

Task<void> client(Address server, std::uint64_t seed, Outcome& outcome, StopToken stop) {
    Rng rng(seed);
    rt::StopSource patience(stop);
    if (rng.below(4) == 0) patience.stop_after(std::chrono::milliseconds(rng.below(2000)));
    static_cast<void>(co_await rt::sleep_for(std::chrono::milliseconds(rng.below(500)), stop));
    Result<Stream> stream = co_await connect(server, patience.token());
    if (!stream) {
        ++outcome.n_failed;
        co_return;
    }
    const std::string text = text_of(seed, rng.below(40'000));
    auto [sent, got] = co_await rt::when_all(send_slowly(*stream, text, seed, patience.token()),
                                             recv_slowly(*stream, seed + 1, patience.token()));
    co_await stream->close();
    if (!sent || !got) {
        ++outcome.n_failed;
        // Whatever arrived before a failure is a prefix of what was sent; recv_slowly keeps it to
        // itself.
    } else if (*got == text) {
        ++outcome.n_good;
    } else {
        ++outcome.n_wrong;
    }
}

struct Trial {
    Outcome outcome;
    std::uint64_t hash = 0;
    std::uint64_t n_events = 0;
};

Trial run_seed(std::uint64_t seed, const rt::SimFaults& faults) {
    rt::SimWorld world(seed, faults, 2);
    Trial run;
    const Address at = Address::loopback(8080);
    const Result<> ended = world.run([&](rt::Shard& shard) -> Task<void> {
        // Both shards listen on the port; the first one has the clients, too.
        Result<Listener> listener = Listener::listen(at);
        CO_ASSERT_OK(listener);
        shard.root().spawn(accept_loop(std::move(*listener), shard.root().token()));
        if (shard.idx() == 1) {
            static_cast<void>(co_await rt::sleep_for(std::chrono::hours(1)));
            co_return;
        }
        rt::Scope clients;
        for (std::uint64_t i = 0; i < 6; ++i) {
            clients.spawn(client(at, seed * 100 + i, run.outcome, clients.token()));
        }
        co_await clients.join();
    });
    EXPECT_TRUE(ended.has_value()) << ended.error().message();
    run.hash = world.trace_hash();
    run.n_events = world.n_events();
    return run;
}

TEST(NetworkFaults, an_echo_is_right_or_an_error) {
    Outcome all;
    for (std::uint64_t i = 0; i < n_seeds(); ++i) {
        const std::uint64_t seed = test::base_seed() * 100'000 + i;
        const Trial run = run_seed(seed, rt::SimFaults::rough());
        all.n_good += run.outcome.n_good;
        all.n_failed += run.outcome.n_failed;
        ASSERT_EQ(run.outcome.n_wrong, 0) << "seed " << seed;
        ASSERT_FALSE(testing::Test::HasFailure()) << "seed " << seed;
    }
    // The faults must bite, and not always.
    EXPECT_GT(all.n_good, static_cast<int>(n_seeds()));
    EXPECT_GT(all.n_failed, static_cast<int>(n_seeds() / 4));
}

TEST(NetworkFaults, without_resets_everybody_who_waits_succeeds) {
    rt::SimFaults faults = rt::SimFaults::rough();
    faults.p_reset = faults.p_refuse = 0;
    int n_good = 0;
    for (std::uint64_t seed = 0; seed < 20; ++seed)
        n_good += run_seed(seed, faults).outcome.n_good;
    EXPECT_GT(n_good, 60); // three in four have no deadline
}

TEST(NetworkFaults, a_seed_repeats_its_trace) {
    std::set<std::uint64_t> hashes;
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        const Trial first = run_seed(seed, rt::SimFaults::rough());
        const Trial second = run_seed(seed, rt::SimFaults::rough());
        EXPECT_EQ(first.hash, second.hash) << "seed " << seed;
        EXPECT_EQ(first.n_events, second.n_events) << "seed " << seed;
        hashes.insert(first.hash);
    }
    EXPECT_EQ(hashes.size(), 10U) << "different seeds, different traces";
}

} // namespace
} // namespace bloom::net
