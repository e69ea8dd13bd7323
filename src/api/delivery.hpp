#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <bloom/dialect/dialect.hpp>
#include <bloom/dialect/openai_responses.hpp>
#include <bloom/gen/generation.hpp>
#include <bloom/http/exchange.hpp>
#include <bloom/sse/writer.hpp>

#include "api/common.hpp"
#include "api/evidence.hpp"

namespace bloom::api {

/// How the answering of one request ended, with what is still to be said.
struct Outcome {
    enum class Kind : std::uint8_t {
        answered,    ///< complete; `tail` waits for the settlement
        refused,     ///< nothing was sent; `error` says what to answer
        broken,      ///< failed after the commit; the error frame was sent
        client_gone, ///< nobody listens any more
    };
    Kind kind = Kind::refused;
    gen::Usage used;
    bool had_content = false;
    ApiError error;
    bool retryable = false;    ///< refused: another machine may do better
    std::string tail;          ///< streaming: the terminal bytes; else the whole body
    http::HeaderList trailers; ///< streaming
};

/// What was found out about a request before its delivery.
struct Arrival {
    bool metadata_details = false; ///< the body is to tell about the machine
    Timing timing;
};

/// Carries one request to providers and their events to the client: attempts, commit, keep-alives,
/// back-pressure. Money is the caller's business: the terminal bytes stay in the outcome.
/// Lifetime: within the handler; borrows exchange and services.
class Delivery {
public:
    Delivery(Services& services, http::Exchange& ex, gen::Generation request, Arrival arrival = {})
        : services_(services), ex_(ex), dialect_(dialect::dialect_of(request.render.dialect)),
          sse_(ex), request_(std::move(request)), arrival_(arrival) {}

    /// Also writes down what the response becomes, for one that is to be stored.
    void record(dialect::ResponseRecord& record) noexcept { record_ = &record; }

    /// Runs up to limits.n_attempts attempts. Never leaves a stream behind, not even when something
    /// throws.
    rt::Task<Outcome> run();

private:
    struct Attempt;

    rt::Task<Outcome> attempt(registry::ProviderLink& link, int number);
    rt::Task<Outcome> pump(Attempt& at);
    static void note_finish(Attempt& at, const gen::Event& event);
    /// When waiting for the next event is over; on_wait_over says what follows then.
    std::uint64_t wait_until_ns(const Attempt& at) const;
    rt::Task<std::optional<Outcome>> on_wait_over(Attempt& at, const Error& error);
    rt::Task<std::optional<Outcome>> on_batch(Attempt& at, gen::EventBatch batch);
    /// Puts the head of the stream in front of its first bytes; whole answers have none.
    rt::Task<Result<>> commit(Attempt& at);
    rt::Task<Result<>> send(Attempt& at, std::string_view bytes);
    Outcome client_gone(const Attempt& at, gen::Usage used) const;
    /// Signs what the encoder wrote and puts the evidence where the response carries it: headers of
    /// a whole one, comment and trailers of a stream.
    void sign(Attempt& at, Outcome& answered);
    void add_provider_headers(const Attempt& at);

    Services& services_;
    http::Exchange& ex_;
    const dialect::Dialect& dialect_;
    sse::Writer sse_;
    gen::Generation request_;
    Arrival arrival_;
    dialect::ResponseRecord* record_ = nullptr;
};

} // namespace bloom::api
