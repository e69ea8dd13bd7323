#include <optional>

#include <fmt/format.h>

#include <bloom/http/client.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/measure/serve_bench.hpp>
#include <bloom/measure/statistics.hpp>
#include <bloom/rt/shard_set.hpp>
#include <bloom/rt/uring_driver.hpp>
#include <bloom/sse/reader.hpp>

namespace bloom::measure {
namespace {

constexpr std::size_t kBodyBytesMax = std::size_t{16} << 20;
constexpr int kIdleRequests = 5;
/// Prompts of the idle requests are not those of the load.
constexpr std::size_t kIdlePrompt = std::size_t{1} << 40;

std::string without_slash(std::string url) {
    while (url.ends_with('/'))
        url.pop_back();
    return url;
}

std::uint64_t now_ns() {
    return rt::Shard::current().driver().now_ns();
}

Outcome failed(std::string why) {
    Outcome out;
    out.error = std::move(why);
    return out;
}

class LoadClient {
public:
    explicit LoadClient(const ServeBenchOptions& options)
        : options_(options), url_(without_slash(options.url)),
          client_({.n_idle_connections = options.concurrency}) {}

    rt::Task<Result<ServeReport>> run() {
        Result<ServeReport> report = co_await measure();
        co_await client_.close();
        co_return report;
    }

private:
    rt::Task<Result<ServeReport>> measure() {
        if (options_.model.empty()) BLOOM_CO_OK(co_await find_model());
        std::vector<double> idle_ms;
        for (int i = 0; i < kIdleRequests; ++i) {
            const std::uint64_t start = now_ns();
            const Outcome one = co_await send(kIdlePrompt + static_cast<std::size_t>(i), {});
            if (!one.error.empty()) co_return Error{Code::unavailable, one.error};
            if (one.first_ns > start)
                idle_ms.push_back(static_cast<double>(one.first_ns - start) * 1e-6);
        }
        const auto due =
            arrival_times(options_.rate, options_.duration_s, options_.arrivals, options_.seed);
        const SendRequest request = [this] BLOOM_CORO_WRAPPER(std::size_t i, rt::StopToken stop) {
            return send(i, stop);
        };
        const std::vector<Outcome> outcomes =
            co_await run_open_loop(due, options_.concurrency, request);
        ServeReport report = summarise(outcomes, median(idle_ms));
        report.model = options_.model;
        co_return report;
    }

    http::ClientRequest request(http::Method method, std::string_view path,
                                std::string body) const {
        http::ClientRequest out;
        out.method = method;
        out.url = url_ + std::string(path);
        if (!options_.api_key.empty())
            out.headers.add("Authorization", "Bearer " + options_.api_key);
        if (!body.empty()) out.content_type = "application/json";
        out.body = std::move(body);
        return out;
    }

    rt::Task<Result<>> find_model() {
        BLOOM_CO_TRY(http::ClientResponse response,
                     co_await client_.request(request(http::Method::get, "/v1/models", {})));
        const int status = http::to_int(response.status());
        const Result<std::string> body = co_await response.read_all(kBodyBytesMax);
        co_await response.close();
        if (!body) co_return std::unexpected(body.error());
        if (status != 200) {
            co_return Error{Code::unavailable,
                            fmt::format("the node answered {} for /v1/models", status)};
        }
        BLOOM_CO_TRY(const json::Value document, parser_.parse(*body));
        BLOOM_CO_TRY(const json::Object object, document.as_object());
        BLOOM_CO_TRY(const json::Value data, object.at("data"));
        BLOOM_CO_TRY(const json::Array models, data.as_array());
        if (models.empty()) co_return Error{Code::unavailable, "the node serves no model yet"};
        BLOOM_CO_TRY(const json::Object first, (*models.begin()).as_object());
        BLOOM_CO_TRY(const json::Value id, first.at("id"));
        BLOOM_CO_TRY(const std::string_view name, id.as_string());
        options_.model = std::string(name);
        co_return Result<>{};
    }

    rt::Task<Outcome> send(std::size_t i, rt::StopToken stop) {
        auto response = co_await client_.request(
            request(http::Method::post, path_of(options_.dialect), load_request(options_, i)),
            stop);
        if (!response) co_return failed(std::string(response.error().message()));
        Outcome out;
        if (response->status() != http::Status::ok) {
            out = failed(fmt::format("status {}", http::to_int(response->status())));
            static_cast<void>(co_await response->read_all(kBodyBytesMax, stop));
        } else if (options_.stream) {
            out = co_await read_stream(*response, stop);
        } else {
            out = co_await read_whole(*response, stop);
        }
        co_await response->close();
        co_return out;
    }

    rt::Task<Outcome> read_stream(http::ClientResponse& response, rt::StopToken stop) {
        Outcome out;
        sse::Reader events;
        std::uint64_t last_ns = 0;
        bool done = false;
        for (;;) {
            const auto bytes = co_await response.read(stop);
            if (!bytes) co_return failed(std::string(bytes.error().message()));
            if (bytes->empty()) break;
            const std::uint64_t now = now_ns();
            if (!events.feed(*bytes)) co_return failed("an event is too large");
            sse::Event event;
            while (events.next(event)) {
                if (event.data == "[DONE]") {
                    done = true;
                    continue;
                }
                const ChunkContent chunk = read_chunk(event.data);
                if (!chunk.error.empty()) co_return failed(chunk.error);
                done |= chunk.ends;
                if (chunk.completion_tokens >= 0) out.n_tokens = chunk.completion_tokens;
                if (!chunk.has_content) continue;
                if (out.first_ns == 0) {
                    out.first_ns = now;
                } else {
                    out.gaps_ns.push_back(now - last_ns);
                }
                last_ns = now;
            }
        }
        if (!done) co_return failed("the stream ended early");
        co_return out;
    }

    rt::Task<Outcome> read_whole(http::ClientResponse& response, rt::StopToken stop) {
        const auto body = co_await response.read_all(kBodyBytesMax, stop);
        if (!body) co_return failed(std::string(body.error().message()));
        const ChunkContent chunk = read_chunk(*body);
        if (!chunk.error.empty()) co_return failed(chunk.error);
        Outcome out;
        out.first_ns = now_ns();
        out.n_tokens = std::max<std::int64_t>(chunk.completion_tokens, 0);
        co_return out;
    }

    ServeBenchOptions options_;
    std::string url_;
    http::Client client_;
    json::Parser parser_;
};

/// Main of the only shard.
struct LoadMain {
    const ServeBenchOptions* options;
    std::optional<Result<ServeReport>>* result;

    rt::Task<void> run() const {
        LoadClient load(*options);
        result->emplace(co_await load.run());
    }

    BLOOM_CORO_WRAPPER rt::Task<void> operator()(rt::Shard& /*shard*/) const { return run(); }
};

} // namespace

Result<ServeReport> bench_serve(const ServeBenchOptions& options) {
    BLOOM_TRY(const http::Url url, http::Url::parse(options.url));
    if (url.tls) {
        return Error{Code::invalid_argument,
                     fmt::format("{}: the load is sent over http only", options.url)};
    }
    BLOOM_TRY(const std::unique_ptr<rt::ShardSet> shards, rt::start_shards({}));
    std::optional<Result<ServeReport>> result;
    BLOOM_OK(shards->run(LoadMain{&options, &result}));
    return std::move(*result);
}

} // namespace bloom::measure
