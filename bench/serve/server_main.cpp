// The HTTP stack with handlers that do nothing else: what one request costs before any work.
//   bloom_bench_server [PORT] [CPU]      prints "ready PORT" and serves until SIGTERM
#include <charconv>
#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>

#include <bloom/base/log.hpp>
#include <bloom/http/server.hpp>
#include <bloom/rt/scope.hpp>
#include <bloom/rt/signals.hpp>
#include <bloom/rt/uring_driver.hpp>
#include <bloom/sse/writer.hpp>

namespace {

using namespace bloom;

constexpr std::uint64_t kEchoBytesMax = 1 << 20;

rt::Task<Result<>> health(http::Exchange& ex) {
    co_return co_await ex.respond(http::Status::ok, "application/json", R"({"status":"ok"})");
}

rt::Task<Result<>> echo(http::Exchange& ex) {
    BLOOM_CO_TRY(const ByteSpan body, co_await ex.read_body(kEchoBytesMax));
    co_return co_await ex.respond(http::Status::ok, "application/json", as_text(body));
}

rt::Task<Result<>> events(http::Exchange& ex) {
    const std::string_view text = ex.param("n");
    int n = 0;
    std::from_chars(text.data(), text.data() + text.size(), n);
    sse::Writer out(ex);
    BLOOM_CO_OK(co_await out.begin(http::Status::ok));
    std::string event;
    for (int i = 0; i < n; ++i) {
        event.clear();
        sse::append_event(event,
                          R"({"id":"x","choices":[{"index":0,"delta":{"content":" word"}}]})");
        BLOOM_CO_OK(co_await out.send(event));
    }
    co_return co_await out.finish("[DONE]");
}

/// A stream that has sent one event and waits: what an idle subscriber costs.
rt::Task<Result<>> hold(http::Exchange& ex) {
    sse::Writer out(ex);
    BLOOM_CO_OK(co_await out.begin(http::Status::ok));
    BLOOM_CO_OK(co_await out.comment("held"));
    co_return co_await rt::sleep_for(std::chrono::hours(1), ex.stop());
}

int number(const char* text, int otherwise) {
    return text == nullptr ? otherwise : std::atoi(text);
}

rt::Task<void> wait_for_end(rt::StopSource& drain) {
    auto signals = rt::SignalSource::open({SIGTERM, SIGINT});
    if (!signals) co_return;
    static_cast<void>(co_await signals->next({}));
    co_await signals->close();
    drain.request_stop(rt::StopReason::shutdown);
}

struct Bench {
    int port;
    http::Router router;

    rt::Task<void> serve(rt::Shard&) {
        http::Server server(router, {});
        const Result<> listening =
            server.listen(net::Address::loopback(static_cast<std::uint16_t>(port)));
        if (!listening) {
            std::fprintf(stderr, "%s\n", std::string(listening.error().message()).c_str());
            co_return;
        }
        std::printf("ready %d\n", server.local().port());
        std::fflush(stdout);
        rt::StopSource drain;
        rt::Scope scope;
        scope.spawn(wait_for_end(drain));
        co_await server.serve(drain.token(), {});
        co_await scope.join();
    }
};

} // namespace

int main(int argc, char** argv) {
    log::init(log::Level::warn, false);
    if (!rt::prepare_signals()) return 1;
    Bench bench{.port = number(argc > 1 ? argv[1] : nullptr, 0), .router = {}};
    bench.router.add(http::Method::get, "/health", health);
    bench.router.add(http::Method::post, "/echo", echo);
    bench.router.add(http::Method::get, "/events/{n}", events);
    bench.router.add(http::Method::post, "/hold", hold);
    rt::ShardSetOptions options;
    if (argc > 2) options.cpus = {number(argv[2], 0)};
    auto shards = rt::start_shards(options);
    if (!shards) {
        std::fprintf(stderr, "%s\n", std::string(shards.error().message()).c_str());
        return 3;
    }
    const auto main_of = [&bench] BLOOM_CORO_WRAPPER(rt::Shard & shard) {
        return bench.serve(shard);
    };
    return (*shards)->run(main_of) ? 0 : 1;
}
