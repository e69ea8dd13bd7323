#pragma once

#include <charconv>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/bytes.hpp>
#include <bloom/http/exchange.hpp>
#include <bloom/http/server.hpp>
#include <bloom/net/stream.hpp>
#include <bloom/net/tcp.hpp>
#include <bloom/rt/shard.hpp>
#include <bloom/rt/task.hpp>

#include "http/body.hpp"
#include "http/response_parser.hpp"

namespace bloom::test {

/// A small site that the server tests talk to; it counts what reaches its handlers.
struct Site {
    static constexpr std::uint64_t kEchoBytesMax = 4 * 1024 * 1024;

    std::map<std::string, int> seen;       ///< X-Id of each request, how often a handler saw it
    std::vector<std::string> paths;        ///< of every request that got a handler
    std::vector<std::string> stop_reasons; ///< why /wait was stopped
    int n_begun = 0, n_ended = 0;
    http::Router router;

    Site() {
        using http::Method;
        router.add(Method::get, "/health", http::bind<&Site::health>(this));
        router.add(Method::post, "/v1/chat/completions", http::bind<&Site::locked>(this));
        router.add(Method::post, "/echo", http::bind<&Site::echo>(this));
        router.add(Method::get, "/events/{n}/{gap_ms}", http::bind<&Site::events>(this));
        router.add(Method::get, "/bytes/{n}", http::bind<&Site::bytes>(this));
        router.add(Method::get, "/wait", http::bind<&Site::wait>(this));
        router.add(Method::get, "/fail/{how}", http::bind<&Site::fail>(this));
        router.add(Method::get, "/name/{rest...}", http::bind<&Site::name>(this));
        router.add(Method::get, "/raw", http::bind<&Site::raw>(this));
        router.set_options(http::bind<&Site::options>(this));
    }

    http::Hooks hooks() {
        http::Hooks out;
        out.on_begin = [this](http::Exchange& ex) {
            ++n_begun;
            ex.set_request_id(ex.arena().copy("id-" + std::to_string(n_begun)));
        };
        out.on_response_head = [](http::Exchange& ex, http::HeaderList& fields) {
            fields.set("X-Request-ID", ex.request_id());
        };
        out.on_end = [this](const http::Exchange&) { ++n_ended; };
        return out;
    }

    void note(http::Exchange& ex) {
        paths.emplace_back(ex.request().path);
        if (const auto id = ex.request().headers.find("X-Id")) ++seen[std::string(*id)];
    }

    static std::uint64_t number(std::string_view text) {
        std::uint64_t n = 0;
        std::from_chars(text.data(), text.data() + text.size(), n);
        return n;
    }

    rt::Task<Result<>> health(http::Exchange& ex) {
        note(ex);
        co_return co_await ex.respond(http::Status::ok, "application/json", R"({"status":"ok"})");
    }

    rt::Task<Result<>> options(http::Exchange& ex) {
        note(ex);
        co_return co_await ex.respond(http::Status::no_content, {}, {});
    }

    /// As a route that needs a key: answers on the head alone.
    rt::Task<Result<>> locked(http::Exchange& ex) {
        note(ex);
        co_return co_await ex.respond(http::Status::unauthorized, "application/json", "{}");
    }

    rt::Task<Result<>> echo(http::Exchange& ex) {
        note(ex);
        const std::string before(ex.request().target);
        const std::string id(ex.request().headers.find("X-Id").value_or(""));
        BLOOM_CO_TRY(const ByteSpan body, co_await ex.read_body(kEchoBytesMax));
        // The head outlives the buffer it came in.
        if (before != ex.request().target || id != ex.request().headers.find("X-Id").value_or("")) {
            co_return Error{Code::internal, "the head has changed"};
        }
        for (std::size_t i = 0; i < http::kBodyPadding; ++i) {
            if (body.data()[body.size() + i] != 0) co_return Error{Code::internal, "padding"};
        }
        co_return co_await ex.respond(http::Status::ok, "text/plain", as_text(body));
    }

    rt::Task<Result<>> events(http::Exchange& ex) {
        note(ex);
        const std::uint64_t n = number(ex.param("n"));
        const auto gap = std::chrono::milliseconds(number(ex.param("gap_ms")));
        ex.headers().add("Cache-Control", "no-cache");
        ex.begin(http::Status::ok, "text/event-stream");
        for (std::uint64_t i = 0; i < n; ++i) {
            const std::string event = "data: " + std::to_string(i) + "\n\n";
            BLOOM_CO_OK(co_await ex.write(event));
            if (gap.count() > 0) BLOOM_CO_OK(co_await rt::sleep_for(gap, ex.stop()));
        }
        http::HeaderList trailers;
        trailers.add("X-Events", std::to_string(n));
        co_return co_await ex.finish("data: [DONE]\n\n", &trailers);
    }

    static std::string pattern(std::uint64_t n) {
        std::string out(n, '\0');
        for (std::size_t i = 0; i < out.size(); ++i)
            out[i] = static_cast<char>('a' + i * 7 % 23);
        return out;
    }

    rt::Task<Result<>> bytes(http::Exchange& ex) {
        note(ex);
        const std::string body = pattern(number(ex.param("n")));
        co_return co_await ex.respond(http::Status::ok, "application/octet-stream", body);
    }

    /// Works until the client leaves or the server gives up.
    rt::Task<Result<>> wait(http::Exchange& ex) {
        note(ex);
        Result<> slept = co_await rt::sleep_for(std::chrono::hours(10), ex.stop());
        stop_reasons.emplace_back(to_string(ex.stop().reason()));
        co_return slept;
    }

    rt::Task<Result<>> fail(http::Exchange& ex) {
        note(ex);
        if (ex.param("how") == "late") {
            ex.begin(http::Status::ok, "text/plain");
            BLOOM_CO_OK(co_await ex.write("half of "));
        }
        if (ex.param("how") == "throw") throw std::runtime_error("thrown by a test handler");
        if (ex.param("how") == "silent") co_return Result<>{};
        co_return Error{Code::busy, "nothing \"free\""};
    }

    rt::Task<Result<>> name(http::Exchange& ex) {
        note(ex);
        co_return co_await ex.respond(http::Status::ok, "text/plain", ex.param("rest"));
    }

    /// Switches to a protocol that returns what it gets, once.
    rt::Task<Result<>> raw(http::Exchange& ex) {
        note(ex);
        ex.headers().add("Upgrade", "raw");
        BLOOM_CO_TRY(net::Stream stream, co_await ex.upgrade());
        Result<rt::Chunk> got = co_await stream.recv(ex.stop());
        if (got && !got->empty())
            static_cast<void>(co_await stream.send_all(got->bytes(), ex.stop()));
        if (got) got->reset();
        co_await stream.close();
        co_return Result<>{};
    }
};

struct RawResponse {
    int status = 0;
    bool close = false;
    bool whole = false;
    std::string body = {};
    std::string fields = {}; ///< "name: value\n" in lower case names
};

/// Everything a server sent on one connection, read as HTTP responses.
struct RawReply {
    std::vector<RawResponse> responses;
    std::string left; ///< bytes that are no response
    bool ended = false;
};

/// Splits what a server sent. `methods` are those of the requests, in order (the last one repeats).
inline RawReply split_responses(std::string_view bytes, const std::vector<http::Method>& methods,
                                bool ended) {
    RawReply out;
    out.ended = ended;
    const http::Limits limits;
    http::ResponseParser parser(limits);
    std::size_t n_final = 0;
    while (!bytes.empty()) {
        const http::Method method = methods[std::min(n_final, methods.size() - 1)];
        parser.reset(method);
        std::size_t consumed = 0;
        const Result<bool> fed = parser.feed(as_bytes(bytes), consumed);
        if (!fed || !*fed) break;
        bytes.remove_prefix(consumed);
        const http::ResponseHead& head = parser.head();
        RawResponse r{.status = to_int(head.status),
                      .close = head.headers.has_token("connection", "close")};
        for (std::size_t i = 0; i < head.headers.size(); ++i) {
            for (const char c : head.headers[i].name)
                r.fields += static_cast<char>(std::tolower(c));
            r.fields += ": " + std::string(head.headers[i].value) + "\n";
        }
        if (r.status >= 200) ++n_final;
        if (head.until_close) {
            r.body = bytes;
            r.whole = ended;
            bytes = {};
        } else {
            http::BodyDecoder decoder;
            decoder.start(head.body, head.content_length, ~std::uint64_t{0}, limits);
            while (!bytes.empty() && !decoder.complete() && !decoder.failed()) {
                const auto step = decoder.next(as_bytes(bytes));
                r.body += as_text(step.data);
                bytes.remove_prefix(step.consumed);
            }
            r.whole = decoder.complete();
        }
        out.responses.push_back(std::move(r));
    }
    out.left = bytes;
    return out;
}

/// Sends `bytes` cut at `cuts` on a fresh connection and reads until the server ends it.
inline rt::Task<Result<RawReply>>
talk_raw(net::Address server, std::string bytes, std::vector<std::size_t> cuts,
         std::vector<http::Method> methods = {http::Method::get}) {
    BLOOM_CO_TRY(net::Stream stream, co_await net::connect(server));
    std::size_t from = 0;
    cuts.push_back(bytes.size());
    for (const std::size_t cut : cuts) {
        // The server may close before it has everything.
        if (!co_await stream.send_all(as_bytes(std::string_view(bytes).substr(from, cut - from))))
            break;
        from = cut;
    }
    std::string got;
    bool ended = false;
    for (;;) {
        Result<rt::Chunk> chunk = co_await stream.recv();
        if (!chunk) break;
        ended = chunk->empty();
        if (ended) break;
        got += as_text(chunk->bytes());
    }
    co_await stream.close();
    co_return split_responses(got, methods, ended);
}

} // namespace bloom::test
