#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <bloom/base/result.hpp>
#include <bloom/http/exchange.hpp>
#include <bloom/http/response.hpp>
#include <bloom/rt/task.hpp>

namespace bloom::sse {

/// Appends one event: `event:` when a type is given, a `data:` line for each line of `data`, the
/// empty line. Type and data hold no CR; the type holds no line end.
void append_event(std::string& out, std::string_view data, std::string_view type = {});

/// Appends a comment line and an empty line; readers drop it.
void append_comment(std::string& out, std::string_view text);

/// An event stream as the response of an exchange. The head waits for the first event, so that
/// status, fields and event leave in one send.
///
///     sse::Writer out(ex);
///     BLOOM_CO_OK(co_await out.begin(http::Status::ok));
///     BLOOM_CO_OK(co_await out.send(event_bytes));          // whole events, already formatted
///     co_return co_await out.finish("[DONE]");
///
/// Lifetime: named, it outlives every send.  Errors: those of http::Exchange::write.
class Writer {
public:
    explicit Writer(http::Exchange& exchange) noexcept : exchange_(&exchange) {}

    /// Fields of event streams (consumer API 4.9); add others to exchange.headers() before.
    rt::Task<Result<>> begin(http::Status status);

    /// Whole events as bytes; several may go at once. Suspends while the peer is slow.
    BLOOM_CORO_WRAPPER rt::Task<Result<>> send(std::string_view events) {
        return exchange_->write(events);
    }

    /// A comment that keeps the connection alive through proxies.
    rt::Task<Result<>> comment(std::string_view text);
    /// Ends the stream; a terminator becomes one last `data:` event in the same send.
    rt::Task<Result<>> finish(std::string_view terminator = {},
                              const http::HeaderList* trailers = nullptr);

private:
    http::Exchange* exchange_;
    std::string scratch_;
};

} // namespace bloom::sse
